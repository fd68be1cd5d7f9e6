-- How the labels of each hour of predictions stand, and how long they took: the roll-up behind coverage, the delay curve and the
-- advice about windows. ONE row per label, hour and version, so that rolling an hour again replaces it as a whole. Everything here
-- can be made again from `outcomes`.
CREATE TABLE IF NOT EXISTS label_hours (
  model LowCardinality(String),
  name LowCardinality(String),
  hour DateTime('UTC'),                      -- of the prediction
  model_version LowCardinality(String),
  labelled UInt64,
  retracted UInt64,
  bins Array(UInt16),                        -- delays until the first label event was received (delays/bins.py), and in each bin
  arrived Array(UInt64),                     --   how many,
  positives Array(UInt64),                   --   how many of them hold the positive value now,
  seconds Array(Float64),                    --   the sum of the delays
  covers UInt64,                             -- newest `folded_at` of the outcomes
  setup UInt64,                              -- what else it depends on: a hash of the positive value
  version UInt64
) ENGINE = ReplacingMergeTree(version)
ORDER BY (model, name, hour, model_version)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;
