-- Profiles: what one feature looked like in one hour of one model version. ONE row each, so that rolling an hour again replaces
-- it as a whole, and a window is a sum of rows. Everything here can be made again from the served tables and the outcomes.

-- The unit in which a numeric feature is measured: bucket = floor(asinh((x - center) / scale) * 32). Profiles on different
-- scales cannot be added, so each carries the ID of its scale, and the scale is pinned: to the first reference that has the
-- feature, else to the first rows seen. When it is pinned anew, the hours with profiles on the old scale are rolled again.
CREATE TABLE IF NOT EXISTS profile_scales (
  model LowCardinality(String),
  role LowCardinality(String),               -- feature, score, prediction, label
  feature String,
  center Float64,
  scale Float64,
  scale_id UInt64,
  source LowCardinality(String),             -- reference, rows
  pinned_rows UInt64,                        -- how many finite values the scale was taken from
  version UInt64
) ENGINE = ReplacingMergeTree(version)
ORDER BY (model, role, feature)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

CREATE TABLE IF NOT EXISTS profiles (
  model LowCardinality(String),
  hour DateTime('UTC'),
  role LowCardinality(String),
  feature String,
  model_version LowCardinality(String),
  scale_id UInt64,                           -- 0: no numeric scale was known
  rows UInt64,                               -- all rows of the hour; = n + nans + infs + bools + strs + nulls + absents + others
  nulls UInt64,
  absents UInt64,                            -- the row was served without this feature
  others UInt64,                             -- values no profile can hold (nested, integers beyond 64 bits)
  nans UInt64,
  infs UInt64,
  bools UInt64,
  strs UInt64,
  vectors UInt64,                            -- how many of n, nans and infs are norms of vectors
  n UInt64,                                  -- finite numbers
  low Nullable(Float64),                     -- smallest and largest finite number
  high Nullable(Float64),
  buckets Array(Int32),                      -- numeric: bucket -> counts, sums of (x - center) / scale and of its square,
  counts Array(UInt64),                      --          smallest and largest x
  sums Array(Float64),
  sums2 Array(Float64),
  lows Array(Float64),
  highs Array(Float64),
  values Array(String),                      -- categorical: the most frequent values of the hour
  value_counts Array(UInt64),
  overflow UInt64,                           -- rows with other values than those
  version UInt64
) ENGINE = ReplacingMergeTree(version)
ORDER BY (model, hour, role, feature, model_version)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

-- Which hours are rolled up, and what they cover. Written last, after every row of the hour, so that a roll-up that was cut off
-- is seen to be missing: an hour in which something newer is stored, or that was rolled under another setup, is rolled again.
CREATE TABLE IF NOT EXISTS rolled_hours (
  model LowCardinality(String),
  task String,                               -- profiles, or label:<name>
  hour DateTime('UTC'),
  model_version LowCardinality(String),
  rows UInt64,
  covers UInt64,                             -- newest received_at of the rows, in microseconds since 1970
  covers_outcomes UInt64,                    -- newest `folded_at` of the outcomes; 0 for profiles
  setup UInt64,                              -- what else the roll-up depends on: a hash of the label's configuration
  version UInt64
) ENGINE = ReplacingMergeTree(version)
ORDER BY (model, task, hour, model_version)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;
