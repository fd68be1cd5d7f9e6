// How metrics are called, and which way is better.

const NAMES = {
  roc_auc: "ROC AUC",
  pr_auc: "PR AUC",
  average_precision: "Average precision",
  log_loss: "Log loss",
  brier_score: "Brier score",
  brier: "Brier score",
  calibration_error: "Calibration error",
  accuracy: "Accuracy",
  balanced_accuracy: "Balanced accuracy",
  precision: "Precision",
  recall: "Recall",
  f1: "F1",
  specificity: "Specificity",
  rmse: "RMSE",
  mae: "MAE",
  mse: "MSE",
  mape: "MAPE",
  smape: "SMAPE",
  r2: "R²",
  bias: "Bias",
  ndcg: "NDCG",
  map: "MAP",
  base_rate: "Base rate",
  positive_rate: "Positive rate",
  label_mean: "Mean label",
  prediction_mean: "Mean prediction",
  macro_f1: "Macro F1",
  micro_f1: "Micro F1",
  weighted_f1: "Weighted F1",
  ks: "KS",
  mrr: "MRR",
  roc_auc_ovr: "ROC AUC, one against the rest",
};
const HIGHER = new Set([
  "roc_auc",
  "pr_auc",
  "average_precision",
  "accuracy",
  "balanced_accuracy",
  "precision",
  "recall",
  "f1",
  "specificity",
  "r2",
  "ndcg",
  "map",
  "mrr",
  "macro_f1",
  "micro_f1",
  "weighted_f1",
  "macro_precision",
  "macro_recall",
  "roc_auc_ovr",
  "ks",
  "lift",
]);
const LOWER = new Set(["log_loss", "brier_score", "brier", "calibration_error", "rmse", "mae", "mse", "mape", "smape", "median_absolute_error"]);
const FIRST = ["roc_auc", "pr_auc", "rmse", "mae", "ndcg", "accuracy", "log_loss"];

export const metricName = (name) => NAMES[name] ?? String(name).replaceAll("_", " ");

/** 1 where higher is better, -1 where lower is, 0 where neither can be said. */
export const better = (name) => (HIGHER.has(name) ? 1 : LOWER.has(name) ? -1 : 0);

/** The metrics named in any of these answers, the most telling first. */
export function metricsIn(answers) {
  const names = new Set();
  for (const answer of answers) {
    for (const place of [answer?.overall, answer?.overall?.so_far, ...(answer?.windows ?? []).slice(-5)])
      for (const name of Object.keys(place?.metrics ?? {})) names.add(name);
  }
  const rank = (name) => (FIRST.includes(name) ? FIRST.indexOf(name) : FIRST.length);
  return [...names].sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1));
}
