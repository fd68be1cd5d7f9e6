-- Comparisons of two samples as a whole, as they were asked for and as they turned out.
CREATE TABLE IF NOT EXISTS multivariate_drifts (
  id String,
  model LowCardinality(String),
  status LowCardinality(String),             -- queued, running, done, failed
  request String,                            -- JSON
  result String,                             -- JSON; empty until done
  error String,
  owner String,                              -- the server that has the samples and compares
  created_at DateTime64(6, 'UTC'),
  version UInt64
) ENGINE = ReplacingMergeTree(version)
ORDER BY id
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;
