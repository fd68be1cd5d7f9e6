// The row of one feature: its verdict, its statistic against the threshold, and what both rest on.

import { h, name, say } from "../dom.js";
import { NONE, count, figure } from "../format.js";
import { verdict } from "../verdict.js";

export const HEADS = [
  ["Feature"],
  ["Verdict"],
  ["Statistic against threshold"],
  ["Threshold", "num minor"],
  ["Method", "minor"],
  ["Kind", "minor"],
  ["Rows now / reference", "num minor"],
];
const SHOWN_THRESHOLDS = 3;

/** How many thresholds the statistic is high; every method that Upshot has grows with the difference. */
export const excess = (one) =>
  typeof one.statistic === "number" && one.threshold > 0 ? one.statistic / one.threshold : -1;

/** What tells rows apart: a score, a label and a feature may have the same name. */
export const keyOf = (one) => `${one.role ?? "feature"} ${one.feature}`;

export function makeRow(one, toggle) {
  const bar = h(
    "div",
    { class: "against", "aria-hidden": "true" },
    h("div", { class: "against-fill" }),
    h("div", { class: "against-mark" }),
  );
  const button = h(
    "button",
    { type: "button", class: "open", "aria-expanded": "false", onclick: toggle },
    h("span", { class: "caret", "aria-hidden": "true" }),
    name(one.feature),
  );
  const cells = HEADS.slice(1).map(([word, style], i) =>
    h(
      "td",
      { class: style, "data-label": word },
      i === 1 ? h("div", { class: "measure" }, h("span", { class: "strong" }), bar) : null,
    ),
  );
  return h("tr", { class: "feature" }, h("th", { scope: "row", "data-label": HEADS[0][0] }, button), cells);
}

export function updateRow(node, one, isOpen) {
  const [first, word, statistic, threshold, method, kind, rows] = node.cells;
  first.firstChild.setAttribute("aria-expanded", String(isOpen));
  node.classList.toggle("opened", isOpen);
  const said = `${one.verdict} ${one.reason ?? ""}`;
  if (word.dataset.said !== said) {
    word.dataset.said = said;
    word.replaceChildren(verdict(one.verdict, one.reason));
  }
  say(statistic.querySelector(".strong"), figure(one.statistic, 4));
  const ratio = excess(one);
  const bar = statistic.querySelector(".against");
  bar.hidden = ratio < 0;
  bar.dataset.verdict = one.verdict;
  bar.classList.toggle("beyond", ratio > SHOWN_THRESHOLDS);
  bar.firstChild.style.width = `${(Math.min(Math.max(ratio, 0), SHOWN_THRESHOLDS) / SHOWN_THRESHOLDS) * 100}%`;
  say(threshold, figure(one.threshold, 3));
  say(method, (one.method ?? NONE).replaceAll("_", " "));
  const what = one.role && one.role !== "feature" ? one.role : one.kind;
  say(kind, (what ?? NONE).replaceAll("_", " "));
  say(rows, `${count(one.rows_current)} / ${count(one.rows_reference)}`);
}
