-- What is known about models: configuration (with its history, because as-of reads need the one of that moment), the typed
-- columns of each model's table, and the sets of feature names that were served together.

CREATE TABLE IF NOT EXISTS model_configs (
  model String,
  config String,                             -- JSON
  received_at DateTime64(6, 'UTC')
) ENGINE = MergeTree
ORDER BY (model, received_at)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

CREATE TABLE IF NOT EXISTS feature_columns (
  model String,
  feature String,
  kind LowCardinality(String),               -- int, float, bool, str, ints, floats
  column_name String
) ENGINE = ReplacingMergeTree
ORDER BY (model, feature, kind)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

-- A row stores the hash of the names it was served with; a name that is not in its shape was absent, which is not null.
CREATE TABLE IF NOT EXISTS shapes (
  model String,
  shape UInt64,
  names Array(String)
) ENGINE = ReplacingMergeTree
ORDER BY (model, shape)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;
