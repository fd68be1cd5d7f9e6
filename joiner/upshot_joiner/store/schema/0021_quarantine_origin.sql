-- Where a refused event came from, and whether it was taken after all. An event that comes again by Kafka has the same
-- `entry_id` each time: readers count an ID once (`LIMIT 1 BY entry_id`), for two writers may have noted it at the same time.

ALTER TABLE quarantine ADD COLUMN IF NOT EXISTS entry_id UInt128
  DEFAULT toUInt128(cityHash64(toString(kind), toString(code), loc, payload, received_at));
ALTER TABLE quarantine ADD COLUMN IF NOT EXISTS topic LowCardinality(String);
ALTER TABLE quarantine ADD COLUMN IF NOT EXISTS partition UInt32;
ALTER TABLE quarantine ADD COLUMN IF NOT EXISTS offset UInt64;
-- Of the item in its message.
ALTER TABLE quarantine ADD COLUMN IF NOT EXISTS place UInt32;
-- The payload was too long to be kept whole.
ALTER TABLE quarantine ADD COLUMN IF NOT EXISTS is_cut UInt8;
ALTER TABLE quarantine ADD INDEX IF NOT EXISTS entry entry_id TYPE bloom_filter(0.001) GRANULARITY 1;

-- Entries that were sent through the intake again and taken.
CREATE TABLE IF NOT EXISTS quarantine_replayed (
  entry_id UInt128,
  replayed_at DateTime64(6, 'UTC')
) ENGINE = ReplacingMergeTree
ORDER BY entry_id
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;
