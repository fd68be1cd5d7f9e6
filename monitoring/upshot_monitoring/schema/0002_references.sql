-- References: training sets that serving is compared with, and their profiles (one row per feature, the shape of `profiles`).
CREATE TABLE IF NOT EXISTS model_references (
  id String,
  model LowCardinality(String),
  model_version LowCardinality(String),      -- empty: for every version that has no reference of its own
  rows UInt64,
  columns String,                            -- JSON: {"features": [...], "ignored": [{"column", "type"}]}
  created_at DateTime64(6, 'UTC'),
  version UInt64
) ENGINE = ReplacingMergeTree(version)
ORDER BY (model, id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

CREATE TABLE IF NOT EXISTS reference_profiles (
  reference_id String,
  role LowCardinality(String),
  feature String,
  scale_id UInt64,
  rows UInt64,
  nulls UInt64,
  absents UInt64,
  others UInt64,
  nans UInt64,
  infs UInt64,
  bools UInt64,
  strs UInt64,
  vectors UInt64,
  n UInt64,
  low Nullable(Float64),
  high Nullable(Float64),
  buckets Array(Int32),
  counts Array(UInt64),
  sums Array(Float64),
  sums2 Array(Float64),
  lows Array(Float64),
  highs Array(Float64),
  values Array(String),
  value_counts Array(UInt64),
  overflow UInt64,
  version UInt64
) ENGINE = ReplacingMergeTree(version)
ORDER BY (reference_id, role, feature)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;
