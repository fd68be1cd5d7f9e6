// What was served: each prediction, its features with type and value as they were, and its raw inputs.

import { empty, h, name } from "../dom.js";
import { number } from "../exact.js";
import { NONE, part, utc } from "../format.js";
import { ABSENT, show, typeOf } from "../values.js";
import { section, table, who } from "./parts.js";

/** One prediction as a card. */
export function prediction(one) {
  const extras = [];
  const add = (title, value) => {
    if (value !== undefined && value !== null && value !== "") extras.push([title, value]);
  };
  add("Action", one.action);
  add("Propensity", one.propensity);
  add("Logged as shown", one.shown);
  // 1 is what everything has that was not sampled.
  if (number(one.keep_probability) !== 1) add("Kept with probability", one.keep_probability);
  const pairs = (title, mapping) => {
    for (const [key, value] of Object.entries(mapping ?? {}))
      extras.push([h("span", {}, `${title} `, name(key)), value]);
  };
  pairs("Probability of", one.probabilities);
  pairs("Entity", one.entities);
  pairs("Tag", one.tags);
  return h(
    "article",
    { class: "served" },
    h(
      "h3",
      {},
      h("a", { href: `/models/${part(one.model)}` }, name(one.model)),
      " ",
      h("span", { class: "muted" }, "version "),
      name(one.model_version),
      one.item_id ? h("span", {}, h("span", { class: "muted" }, " item "), name(one.item_id)) : null,
    ),
    h("p", { class: "answer" }, show(one.prediction, true)),
    h(
      "dl",
      { class: "pairs" },
      [
        ["Predicted", utc(one.predicted_at, true)],
        ["Received", utc(one.received_at, true)],
        // Logged as not shown: it counts once it was.
        ...(one.activation ? [["Shown", one.activation.shown_at ? utc(one.activation.shown_at, true) : "not yet"]] : []),
      ].map(([key, value]) => h("div", {}, h("dt", {}, key), h("dd", {}, value))),
      extras.map(([key, value]) => h("div", {}, h("dt", {}, key), h("dd", {}, show(value)))),
    ),
  );
}

/**
 * Rows: every feature of any prediction of this request, and those that the model is known to have besides. Columns: the
 * predictions. What one lacks is "absent" there.
 */
export function features(predictions, known) {
  const names = [...new Set([...predictions.flatMap((one) => Object.keys(one.features ?? {})), ...known])];
  if (!names.length) return empty("No features were logged with this request.");
  const explained = predictions.some((one) => one.attributions);
  const cells = (feature) =>
    predictions.flatMap((one) => {
      const value = Object.hasOwn(one.features ?? {}, feature) ? one.features[feature] : ABSENT;
      const odd = (one.non_finite ?? []).includes(feature);
      const time = Object.hasOwn(one.feature_times ?? {}, feature) ? one.feature_times[feature] : null;
      const contribution = Object.hasOwn(one.attributions ?? {}, feature) ? one.attributions[feature] : undefined;
      return [
        show(value, odd),
        h("span", { class: "muted", title: time ? `computed ${utc(time, true)}` : null }, typeOf(value, odd)),
        ...(explained ? [contribution === undefined ? NONE : show(contribution, true)] : []),
      ];
    });
  const more = explained ? ["Contribution"] : [];
  const heads =
    predictions.length === 1
      ? ["Value", "Type", ...more]
      : predictions.flatMap((one) => [h("span", {}, name(who(one))), "Type", ...more]);
  return table(
    "Features as they were served",
    ["Feature", ...heads],
    names.map((feature) => [name(feature), ...cells(feature)]),
    "values",
  );
}

/** Raw values before the model's own transformation, where the caller logged them. */
export function inputs(predictions) {
  const rows = predictions.flatMap((one) =>
    Object.entries(one.inputs ?? {}).map(([key, value]) => [
      name(key),
      name(who(one)),
      show(value, true),
      typeOf(value),
    ]),
  );
  return rows.length
    ? section("inputs", "Raw inputs", true, table("Raw inputs", ["Input", "Of", "Value", "Type"], rows, "values"))
    : null;
}
