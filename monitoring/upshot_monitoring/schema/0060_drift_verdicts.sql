-- Every verdict on a closed window, as it was given: nothing is changed later. Where late rows make a window be rolled up again, it
-- is judged again, and both verdicts stay; the newest is the one that is shown.
CREATE TABLE IF NOT EXISTS drift_verdicts (
  model LowCardinality(String),
  model_version LowCardinality(String),      -- empty: all versions together
  window_start DateTime('UTC'),
  window_end DateTime('UTC'),
  role LowCardinality(String),
  feature String,
  kind LowCardinality(String),
  baseline LowCardinality(String),           -- reference, previous, last_week
  baseline_id String,                        -- the reference, or the first hour of the earlier window
  method LowCardinality(String),
  threshold Float64,
  direction LowCardinality(String),          -- above, below: on which side of the threshold drift is
  statistic Nullable(Float64),
  p_value Nullable(Float64),
  adjusted_p_value Nullable(Float64),
  false_discovery_rate Float64,
  tested UInt32,                             -- columns that were judged together
  verdict LowCardinality(String),
  reason String,
  rows_reference UInt64,
  rows_current UInt64,
  revision UInt64,                           -- the newest roll-up of the window that it rests on
  judged_at DateTime64(6, 'UTC')
) ENGINE = ReplacingMergeTree
ORDER BY (model, window_start, window_end, model_version, role, feature, judged_at)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;
