-- What was received. Everything here is append-only; the first stored content of an identity wins.
--
-- `first_wins` is ~received_at in microseconds, so that ReplacingMergeTree, which keeps the largest version, keeps the
-- earliest row. Reads use FINAL: a repeated row is never seen, whether or not a merge has removed it yet.
-- The three fsync settings make an answered insert survive a power cut; without any of them it does not.

-- The spine: one narrow row per prediction of every model, in key order. A label finds its prediction here.
CREATE TABLE IF NOT EXISTS predictions (
  model LowCardinality(String),
  request_key UInt128,                       -- the number of a UUID or ULID (time-ordered where the ID is); else a hash
  request_id String,
  model_version LowCardinality(String),
  item_id String,
  predicted_at DateTime64(6, 'UTC'),
  received_at DateTime64(6, 'UTC'),
  first_wins UInt64,
  content_hash UInt128,
  INDEX received received_at TYPE minmax GRANULARITY 1
) ENGINE = ReplacingMergeTree(first_wins)
PRIMARY KEY (model, request_key)
ORDER BY (model, request_key, request_id, model_version, item_id)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

-- The ledger: every statement about an outcome, kept for ever. Outcomes are a fold of it, now or as of any moment.
CREATE TABLE IF NOT EXISTS label_events (
  request_key UInt128,
  request_id String,
  label_id String,
  name LowCardinality(String),
  op Enum8('set' = 1, 'retract' = 2),
  value_kind LowCardinality(String),         -- int, float, bool, str; empty for a retraction
  value_number Nullable(Float64),            -- the value as a number, where it is one
  value_text String,                         -- the value exactly
  item_id String,
  model LowCardinality(String),              -- empty: every model
  observed_at DateTime64(6, 'UTC'),
  received_at DateTime64(6, 'UTC'),
  first_wins UInt64,
  source LowCardinality(String),
  tags Map(LowCardinality(String), String),
  writer_id String,
  seq UInt64,
  content_hash UInt128,
  INDEX received received_at TYPE minmax GRANULARITY 1
) ENGINE = ReplacingMergeTree(first_wins)
PRIMARY KEY request_key
ORDER BY (request_key, request_id, label_id)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

-- What could not be accepted, with the reason and the place, as it came.
CREATE TABLE IF NOT EXISTS quarantine (
  received_at DateTime64(6, 'UTC'),
  kind LowCardinality(String),               -- prediction, label
  code LowCardinality(String),
  loc String,
  model String,
  request_id String,
  payload String
) ENGINE = MergeTree
ORDER BY received_at
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;
