-- Many processes may write one store. Nothing here depends on which of them is right about the time.

-- `version` of an outcome grows with what its fold knew: (moment of the rules in seconds) << 32 | number of label events. Of two
-- folds of the same request, by whomever and whenever, the one that saw more wins. `folded_at` is when, for those who follow changes;
-- in rows of earlier releases the version was that moment, in microseconds.
ALTER TABLE outcomes ADD COLUMN IF NOT EXISTS folded_at DateTime64(6, 'UTC')
  DEFAULT fromUnixTimestamp64Micro(toInt64(if(version < 4503599627370496, version, 0)), 'UTC');

-- A label waits for the prediction of its item. That it does not wait any more is never taken back, so such a row has the larger
-- version; and a reader looks at the spine besides, whatever is written here.
ALTER TABLE orphans ADD COLUMN IF NOT EXISTS item_id String;

-- A block that the driver sends twice is stored once, here too (the other tables of events are ReplacingMergeTree).
ALTER TABLE quarantine MODIFY SETTING non_replicated_deduplication_window = 1000;

-- Who has the store open. A process says every second that it lives, up to which stamp everything of it is stored
-- (`stored_us`) and joined (`joined_us`), both in microseconds since 1970; `beat_at` is by the server's clock.
CREATE TABLE IF NOT EXISTS processes (
  process String,
  role LowCardinality(String),               -- serve, work
  host String,
  pid UInt32,
  started_us Int64,
  stored_us Int64,
  joined_us Int64,
  ended UInt8,                               -- 1: it closed in order, or another one finished what it had left
  beat_at DateTime64(6, 'UTC') DEFAULT now64(6),
  version UInt64
) ENGINE = ReplacingMergeTree(version)
ORDER BY process
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

-- Whose exports these are: their files are with the server that made them.
ALTER TABLE exports ADD COLUMN IF NOT EXISTS owner String;
