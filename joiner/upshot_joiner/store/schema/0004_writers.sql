-- Which numbers (`seq`) of each writer have arrived. Stored events carry their number themselves (`label_events` and the typed
-- tables), so only what leaves no event behind is written apart: refused events, and repeats under a number of their own.

ALTER TABLE quarantine ADD COLUMN IF NOT EXISTS writer_id String;
ALTER TABLE quarantine ADD COLUMN IF NOT EXISTS seq Nullable(UInt64);

-- Duplicates whose number had not been seen: the same event logged twice. One row per group and writer, its numbers as runs.
CREATE TABLE IF NOT EXISTS writer_repeats (
  writer_id String,
  firsts Array(UInt64) CODEC(Delta, ZSTD),
  lasts Array(UInt64) CODEC(Delta, ZSTD),
  received_at DateTime64(6, 'UTC')
) ENGINE = MergeTree
ORDER BY received_at
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

-- What writers say of themselves; a later row of a writer holds all that an earlier one did.
CREATE TABLE IF NOT EXISTS writer_reports (
  writer_id String,
  report String,                             -- JSON
  received_at DateTime64(6, 'UTC')
) ENGINE = ReplacingMergeTree(received_at)
ORDER BY writer_id
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

-- The fold of all of these per writer, as of the note `writers` in `progress`; what came later is counted again at the next
-- start. The counts of a settled writer (nothing was heard of it for long) are final until it is heard of again.
CREATE TABLE IF NOT EXISTS writers (
  writer_id String,
  settled Bool,
  first_seen DateTime64(6, 'UTC'),
  last_seen DateTime64(6, 'UTC'),
  models Array(String),
  report String,                             -- JSON; empty: none has come
  due UInt64,                                -- numbers below were given out long enough ago to be judged
  received_firsts Array(UInt64) CODEC(Delta, ZSTD),
  received_lasts Array(UInt64) CODEC(Delta, ZSTD),
  received_floor UInt64,                     -- of numbers below, only how many came is known
  received_below_floor UInt64,
  rejected_firsts Array(UInt64) CODEC(Delta, ZSTD),
  rejected_lasts Array(UInt64) CODEC(Delta, ZSTD),
  rejected_floor UInt64,
  rejected_below_floor UInt64,
  state LowCardinality(String),              -- complete, waiting, lossy
  next_seq UInt64,
  received UInt64,
  rejected UInt64,
  missing UInt64,
  explained Map(LowCardinality(String), UInt64),
  waiting Map(LowCardinality(String), UInt64),
  unexplained UInt64,
  version UInt64
) ENGINE = ReplacingMergeTree(version)
ORDER BY writer_id
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;
