-- Where each rule stands: ONE row, written at every look. `outbox` holds the messages of its last transition: they are put into
-- `alert_deliveries` after this row, and again by whoever looks next if that was cut off; a message that is there is not put again.
-- The row of model '' and rule '' says when all rules were looked at last.
CREATE TABLE IF NOT EXISTS alert_states (
  model String,
  rule String,
  fingerprint String,                        -- of what the rule asks; another one begins anew
  state String,                              -- JSON: the state machine's
  shown String,                              -- JSON: what the last look found
  outbox String,                             -- JSON: [[message, [channel, ...]], ...]
  gone UInt8,                                -- the rule is no more in the configuration
  looked_at DateTime64(6, 'UTC'),
  version UInt64
) ENGINE = ReplacingMergeTree(version)
ORDER BY (model, rule)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

-- What goes out, and what became of it: ONE row for each message and channel.
CREATE TABLE IF NOT EXISTS alert_deliveries (
  channel String,
  id String,                                 -- of the message: the same at every attempt
  model String,
  rule String,
  kind LowCardinality(String),               -- firing, repeat, resolved, unknown, known
  incident String,
  status LowCardinality(String),             -- waiting, sent, refused (4xx), given_up (too old), dropped (too many wait)
  attempts UInt32,
  created_at DateTime64(6, 'UTC'),
  next_at DateTime64(6, 'UTC'),              -- of the next attempt
  settled_at Nullable(DateTime64(6, 'UTC')),
  sent_as String,                            -- the ID it was sent under: its own, or that of a message that said several
  error String,                              -- of the last attempt: a word such as http_500 or timeout
  message String,                            -- JSON
  version UInt64
) ENGINE = ReplacingMergeTree(version)
ORDER BY (channel, id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

-- Rules that nobody wants to hear of for a while.
CREATE TABLE IF NOT EXISTS alert_mutes (
  model String,
  rule String,
  until DateTime64(6, 'UTC'),
  reason String,
  muted_at DateTime64(6, 'UTC'),
  version UInt64
) ENGINE = ReplacingMergeTree(version)
ORDER BY (model, rule)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;
