-- Labels that name an entity instead of a request: what was received, which predictions an entity has, and what the labels were
-- attributed to (join/attribution.py). All of this is empty, and costs nothing, until the first such label comes.

-- Which types of entity labels have named. Predictions are indexed by entities of these types only; `filled` says that those
-- stored before the type was known are indexed, too.
CREATE TABLE IF NOT EXISTS entity_types (
  entity_type String,
  filled UInt8,
  version UInt64
) ENGINE = ReplacingMergeTree(version)
ORDER BY entity_type
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

-- The index: the predictions of an entity, by time. The key is a hash of type and ID (store/entities.py). On a cluster, all tables
-- by entity are on the first shard, wherever the request is: `of_request` is its key.
CREATE TABLE IF NOT EXISTS entity_predictions (
  entity_key UInt128,
  predicted_at DateTime64(6, 'UTC'),
  model LowCardinality(String),
  of_request UInt128,
  request_id String,
  model_version LowCardinality(String),
  item_id String,
  received_at DateTime64(6, 'UTC'),
  first_wins UInt64,
  INDEX received received_at TYPE minmax GRANULARITY 1
) ENGINE = ReplacingMergeTree(first_wins)
PRIMARY KEY (entity_key, predicted_at)
ORDER BY (entity_key, predicted_at, model, of_request, request_id, model_version, item_id)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

-- The ledger, as label_events is for labels of requests.
CREATE TABLE IF NOT EXISTS entity_label_events (
  entity_key UInt128,
  entity_type LowCardinality(String),
  entity_id String,
  label_id String,
  name LowCardinality(String),
  op LowCardinality(String),
  value_kind LowCardinality(String),
  value_number Nullable(Float64),
  value_text String,
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
PRIMARY KEY entity_key
ORDER BY (entity_key, label_id)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

-- Where labels went: one row per label, model and request, valid from `attributed_at` until `withdrawn_at` (2299: it still is).
-- A withdrawal writes the row again with its end, so what was attributed as of any moment stays known.
CREATE TABLE IF NOT EXISTS attributions (
  entity_key UInt128,
  entity_type LowCardinality(String),
  entity_id String,
  of_request UInt128,
  request_id String,
  label_id String,                           -- of the label event, and behind a control character the key of the entity
  name LowCardinality(String),
  op LowCardinality(String),
  value_kind LowCardinality(String),         -- of the share, where the label was shared
  value_number Nullable(Float64),
  value_text String,
  item_id String,
  model LowCardinality(String),
  observed_at DateTime64(6, 'UTC'),
  received_at DateTime64(6, 'UTC'),          -- when both the label and the prediction were known
  source LowCardinality(String),
  tags Map(LowCardinality(String), String),
  attributed_at DateTime64(6, 'UTC'),
  withdrawn_at DateTime64(6, 'UTC'),
  version UInt64,
  INDEX changed version TYPE minmax GRANULARITY 1
) ENGINE = ReplacingMergeTree(version)
PRIMARY KEY entity_key
ORDER BY (entity_key, label_id, model, of_request, request_id, attributed_at)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

-- The same rows by request: what the fold reads beside label_events.
CREATE TABLE IF NOT EXISTS attributed_events (
  entity_key UInt128,
  entity_type LowCardinality(String),
  entity_id String,
  request_key UInt128,
  request_id String,
  label_id String,
  name LowCardinality(String),
  op LowCardinality(String),
  value_kind LowCardinality(String),
  value_number Nullable(Float64),
  value_text String,
  item_id String,
  model LowCardinality(String),
  observed_at DateTime64(6, 'UTC'),
  received_at DateTime64(6, 'UTC'),
  source LowCardinality(String),
  tags Map(LowCardinality(String), String),
  attributed_at DateTime64(6, 'UTC'),
  withdrawn_at DateTime64(6, 'UTC'),
  version UInt64,
  INDEX changed version TYPE minmax GRANULARITY 1
) ENGINE = ReplacingMergeTree(version)
PRIMARY KEY request_key
ORDER BY (request_key, request_id, label_id, model, attributed_at)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

-- A label of an entity that is attributed to nothing yet is an orphan: its key is that of the entity, and its request ID empty.
ALTER TABLE orphans ADD COLUMN IF NOT EXISTS entity_type LowCardinality(String);
ALTER TABLE orphans ADD COLUMN IF NOT EXISTS entity_id String;
