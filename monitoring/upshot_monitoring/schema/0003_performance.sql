-- How one hour of one model version turned out, for one label. ONE row each; rolling the hour again replaces it. Nothing here
-- depends on the time of day: whether a row without a label is still open or defaulted is decided when it is read.
--
-- Groups, in this order, in the arrays of four: negative, positive, unlabelled, retracted. Sums over the unlabelled are taken
-- as if they had the label's default value.
CREATE TABLE IF NOT EXISTS performance_hours (
  model LowCardinality(String),
  label String,
  hour DateTime('UTC'),
  model_version LowCardinality(String),
  setup UInt64,                              -- a hash of the task, positive, threshold and default it was rolled under
  rows UInt64,
  group_rows Array(UInt64),                  -- rows per group, scored or not
  -- binary: bins of the score (see performance/score_bins.py), and per group the count and the sum of scores in each
  bins Array(Int32),
  negatives Array(UInt64),
  positives Array(UInt64),
  unlabelled Array(UInt64),
  negative_scores Array(Float64),
  positive_scores Array(Float64),
  unlabelled_scores Array(Float64),
  outside UInt64,                            -- scores outside [0, 1]: then log loss, Brier and calibration are undefined
  -- per group: sums of the loss, of its square, of the squared error, of its square
  losses Array(Float64),
  losses2 Array(Float64),
  errors2 Array(Float64),
  errors4 Array(Float64),
  -- regression: labelled rows, then unlabelled rows taken at the default: n, mean and M2 of y, sums of e, |e|, e2, e4
  regression_n Array(UInt64),
  y_means Array(Float64),
  y_m2s Array(Float64),
  e_sums Array(Float64),
  abs_sums Array(Float64),
  e2_sums Array(Float64),
  e4_sums Array(Float64),
  -- multiclass: pairs of actual and predicted class, with counts; an unlabelled row has its default as the actual class
  actual Array(String),
  predicted Array(String),
  pair_states Array(UInt8),                  -- 0 labelled, 2 unlabelled
  pairs Array(UInt64),
  version UInt64
) ENGINE = ReplacingMergeTree(version)
ORDER BY (model, label, hour, model_version)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1;
