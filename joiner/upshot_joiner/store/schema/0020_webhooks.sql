-- Deliveries of signed label webhooks, by a hash of their ID, for as long as their senders may repeat them.
CREATE TABLE IF NOT EXISTS webhook_ids (
  id_key UInt128,
  digest UInt128,                            -- of the body
  answer String,                             -- JSON: what the first delivery was told
  received_at DateTime64(6, 'UTC')
) ENGINE = ReplacingMergeTree(received_at)
ORDER BY id_key
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;
