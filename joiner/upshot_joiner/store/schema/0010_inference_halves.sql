-- Requests and responses of inferences, as KServe's logger sends them: two events each, in any order. A half waits here for the
-- other. What is settled (became predictions, or went to quarantine) stays for a while without its body, so that a repeat is known.
CREATE TABLE IF NOT EXISTS inference_halves (
  pair UInt128,                              -- a hash of who served and of the event's ID
  side Enum8('request' = 1, 'response' = 2),
  event_id String,
  source String,
  extensions String,                         -- JSON
  at Nullable(DateTime64(6, 'UTC')),         -- when it was sent
  received_at DateTime64(6, 'UTC'),
  digest UInt128,                            -- of the body
  body String,
  settled UInt8,                             -- 0 waiting, 1 settled
  because LowCardinality(String)             -- why: paired, or the code in quarantine
) ENGINE = ReplacingMergeTree(settled)
PRIMARY KEY pair
ORDER BY (pair, side)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;
