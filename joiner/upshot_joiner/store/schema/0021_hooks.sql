-- Sources of webhooks. Secrets that were given by value are here alone, and only those in force; the history is without them.
CREATE TABLE IF NOT EXISTS hook_sources (
  source String,
  config String,                             -- JSON
  version UInt64
) ENGINE = ReplacingMergeTree(version)
ORDER BY source
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

CREATE TABLE IF NOT EXISTS hook_history (
  source String,
  config String,                             -- JSON, without secrets
  received_at DateTime64(6, 'UTC')
) ENGINE = MergeTree
ORDER BY (source, received_at)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

-- What became of deliveries, counted.
CREATE TABLE IF NOT EXISTS hook_counts (
  source String,
  what LowCardinality(String),               -- mapped, filtered, unmapped, rejected; accepted, duplicates, refused; replayed
  n UInt64
) ENGINE = SummingMergeTree(n)
ORDER BY (source, what)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

-- Bodies that could not be mapped, or not wholly: they wait for a mapping that can.
CREATE TABLE IF NOT EXISTS hook_bodies (
  source String,
  body_key UInt128,                          -- a hash of the source, the body and the headers
  received_at DateTime64(6, 'UTC'),          -- when it came first
  body String,                               -- JSON as sent; empty once it is settled
  headers String,                            -- JSON: those that the mapping listed when it came
  places String,                             -- JSON: what could not be mapped, and why
  settled UInt8,
  version UInt64
) ENGINE = ReplacingMergeTree(version)
ORDER BY (source, body_key)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;
