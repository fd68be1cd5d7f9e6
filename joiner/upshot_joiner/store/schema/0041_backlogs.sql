-- What a process holds, so that all know of it: events to be stored, requests and entities to be joined, messages in the Kafka
-- partitions that it owns (null: it reads none), and the moment by which everything that had come is joined (microseconds since 1970;
-- 0: not known).
ALTER TABLE processes ADD COLUMN IF NOT EXISTS to_store UInt64;
ALTER TABLE processes ADD COLUMN IF NOT EXISTS to_join UInt64;
ALTER TABLE processes ADD COLUMN IF NOT EXISTS in_kafka Nullable(UInt64);
ALTER TABLE processes ADD COLUMN IF NOT EXISTS until_us Int64 DEFAULT toUnixTimestamp64Micro(beat_at);
