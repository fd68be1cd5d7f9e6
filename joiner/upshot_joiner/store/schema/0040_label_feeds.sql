-- Whether the labels of a model still come. What was known of a feed's silence, and when: records are appended, never changed; the
-- set of silent moments is their fold in the order of their stamps (join/silence.py), now or as of any moment.
CREATE TABLE IF NOT EXISTS label_feed_changes (
  model String,
  name String,
  action Enum8('open' = 1, 'close' = 2, 'void' = 3),
  since Nullable(DateTime64(6, 'UTC')),
  until Nullable(DateTime64(6, 'UTC')),      -- null: until further notice
  by Enum8('breaker' = 1, 'operator' = 2),
  reason String,
  numbers String,                            -- JSON: what the breaker saw
  received_at DateTime64(6, 'UTC')
) ENGINE = MergeTree
ORDER BY (model, name, received_at)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

-- How many predictions got their first label event in each ten minutes, after which delays: the history that the breaker learns
-- from. Counted again while it may still grow; of several counts of a bucket, the largest knew most.
CREATE TABLE IF NOT EXISTS label_arrivals (
  model String,
  name String,
  bucket DateTime('UTC'),
  arrivals UInt64,
  last_at DateTime64(6, 'UTC'),
  delay_bins Array(UInt16),                  -- log2(1 + hours) * 24
  delay_counts Array(UInt64)
) ENGINE = ReplacingMergeTree(arrivals)
ORDER BY (model, name, bucket)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

-- What arrived in the last hours is found without reading what arrived before.
ALTER TABLE outcomes ADD INDEX IF NOT EXISTS first_received first_received_at TYPE minmax GRANULARITY 1;
