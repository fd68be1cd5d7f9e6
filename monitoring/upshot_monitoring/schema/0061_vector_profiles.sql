-- What vectors looked like, beside the profile of their norm: one row per length of the vector, so that several lengths in an hour are
-- seen, and are no error. Rows of several hours add up exactly (Chan et al.): see `profiles/vector_profile.py`.
CREATE TABLE IF NOT EXISTS vector_profiles (
  model LowCardinality(String),
  hour DateTime('UTC'),
  role LowCardinality(String),
  feature String,
  model_version LowCardinality(String),
  length UInt32,                             -- 0: all lengths together that are not kept one by one
  rows UInt64,                               -- vectors of this length
  summed UInt64,                             -- those of them with finite elements only, which the next two are of
  means Array(Float64),                      -- per dimension: the mean, and
  m2 Array(Float64),                         --                the sum of squared distances from it
  version UInt64
) ENGINE = ReplacingMergeTree(version)
ORDER BY (model, hour, role, feature, model_version, length)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

CREATE TABLE IF NOT EXISTS reference_vectors (
  reference_id String,
  role LowCardinality(String),
  feature String,
  length UInt32,
  rows UInt64,
  summed UInt64,
  means Array(Float64),
  m2 Array(Float64),
  version UInt64
) ENGINE = ReplacingMergeTree(version)
ORDER BY (reference_id, role, feature, length)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;
