-- How one hour of one model version turned out, for one label: the sums that every metric is made of. ONE row each; rolling the hour
-- again replaces it. Nothing here depends on the time of day: whether a row without a label is still open or defaulted is decided when it
-- is read. Rows are weighted by w = 1 / keep_probability.
--
-- Groups, in this order: 0 negative (labelled, where there is no positive class), 1 positive, 2 unlabelled, 3 retracted. Sums over the
-- unlabelled are taken as if they had the label's default value.
CREATE TABLE IF NOT EXISTS performance_sums (
  model LowCardinality(String),
  label String,
  hour DateTime('UTC'),
  model_version LowCardinality(String),
  setup UInt64,                              -- a hash of what the sums depend on: configuration, and how they are made
  rows UInt64,
  group_rows Array(UInt64),
  group_weights Array(Float64),
  sums Array(Float64),                       -- scalar sums; their order is in performance/<task>/sums.py
  -- bins of the score (see performance/score_bins.py), or of the absolute error, and in each, per group
  bins Array(Int64),
  w_0 Array(Float64),                        --   the sum of w,
  w_1 Array(Float64),
  w_2 Array(Float64),
  v_0 Array(Float64),                        --   of w squared,
  v_1 Array(Float64),
  v_2 Array(Float64),
  x_0 Array(Float64),                        --   of w times the score or the absolute error
  x_1 Array(Float64),
  x_2 Array(Float64),
  -- regression: sums of y are about this number
  centre Float64,
  -- multiclass: pairs of actual and predicted class, and bins of the probability of each class against the rest
  actual Array(String),
  predicted Array(String),
  pair_states Array(UInt8),                  -- 0 labelled, 2 unlabelled
  pair_w Array(Float64),
  pair_v Array(Float64),
  score_classes Array(String),
  score_bins Array(Int64),
  score_own Array(UInt8),                    -- whether the class is the actual one
  score_states Array(UInt8),
  score_w Array(Float64),
  score_v Array(Float64),
  -- ranking: sums over slates (performance/ranking/slates.py)
  slates Array(Float64),
  version UInt64
) ENGINE = ReplacingMergeTree(version)
ORDER BY (model, label, hour, model_version)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;

-- What it replaces: counts without weights. Every hour is rolled again, from the rows.
DROP TABLE IF EXISTS performance_hours;
