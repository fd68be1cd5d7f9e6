-- The present outcome of each label of each prediction, where label events are known: a fold of the ledger, kept by the
-- joiner. Ordered by the hour of the prediction, because monitoring asks by time. Everything here can be made again from the
-- ledger; a prediction that has no row here is pending (or defaulted, once its window is closed and its label has a default).
CREATE TABLE IF NOT EXISTS outcomes (
  model LowCardinality(String),
  name LowCardinality(String),
  predicted_at DateTime64(6, 'UTC'),
  request_key UInt128,
  request_id String,
  model_version LowCardinality(String),
  item_id String,
  state Enum8('pending' = 0, 'labelled' = 1, 'retracted' = 3),
  value_kind LowCardinality(String),
  value_number Nullable(Float64),
  value_text String,
  observed_at Nullable(DateTime64(6, 'UTC')),
  received_at DateTime64(6, 'UTC'),          -- when the newest event of the fold was received
  first_received_at DateTime64(6, 'UTC'),    -- when the first was: the delay of the label
  version UInt64
) ENGINE = ReplacingMergeTree(version)
PRIMARY KEY (model, name, toStartOfHour(predicted_at), request_key)
ORDER BY (model, name, toStartOfHour(predicted_at), request_key, request_id, model_version, item_id)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

-- How far each background task has got (microseconds since 1970 of the newest `received_at` it covers).
CREATE TABLE IF NOT EXISTS progress (
  task String,
  until_us Int64,
  version UInt64
) ENGINE = ReplacingMergeTree(version)
ORDER BY task
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

CREATE TABLE IF NOT EXISTS exports (
  id String,
  status LowCardinality(String),
  request String,                            -- JSON
  manifest String,                           -- JSON; empty until done
  location String,
  error String,
  created_at DateTime64(6, 'UTC'),
  version UInt64
) ENGINE = ReplacingMergeTree(version)
ORDER BY id
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

-- Label events whose prediction is not known (yet); a row with waiting = 0 takes an earlier one back.
CREATE TABLE IF NOT EXISTS orphans (
  request_key UInt128,
  request_id String,
  label_id String,
  name LowCardinality(String),
  model LowCardinality(String),
  received_at DateTime64(6, 'UTC'),
  waiting UInt8,
  version UInt64
) ENGINE = ReplacingMergeTree(version)
PRIMARY KEY request_key
ORDER BY (request_key, request_id, label_id)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;
