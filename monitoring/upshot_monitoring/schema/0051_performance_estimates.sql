-- What was estimated of a day before its labels were in, and what it turned out to be. ONE row per day, method and metric; written once
-- when the day has ended, and once more when its windows have closed. An estimate is never changed.
CREATE TABLE IF NOT EXISTS performance_estimates (
  model LowCardinality(String),
  label String,
  start DateTime('UTC'),
  method LowCardinality(String),             -- cbpe, delay_corrected
  metric LowCardinality(String),
  made_at DateTime64(6, 'UTC'),
  rows UInt64,                               -- of the day, when it was estimated
  estimated Float64,
  low Float64,
  high Float64,
  actual Nullable(Float64),
  scored_at Nullable(DateTime64(6, 'UTC')),
  version UInt64
) ENGINE = ReplacingMergeTree(version)
ORDER BY (model, label, start, method, metric)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;
