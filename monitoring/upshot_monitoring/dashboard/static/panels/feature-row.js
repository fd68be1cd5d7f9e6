// The row of one feature: its verdict, its statistic against the threshold, and what both rest on.

import { h, say } from "../dom.js";
import { NONE, count, figure } from "../format.js";
import { verdict } from "../verdict.js";
import { opener } from "./opening.js";

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

/** How many thresholds the statistic is away; of a test, whose number falls, how many times it is below. */
export function excess(one) {
  if (typeof one.statistic !== "number" || !(one.threshold > 0)) return -1;
  return one.direction === "below" ? one.threshold / Math.max(one.statistic, 1e-300) : one.statistic / one.threshold;
}

export function makeRow(one, toggle) {
  const bar = h(
    "div",
    { class: "against", "aria-hidden": "true" },
    h("div", { class: "against-fill" }),
    h("div", { class: "against-mark" }),
  );
  const cells = HEADS.slice(1).map(([word, style], i) =>
    h(
      "td",
      { class: style, "data-label": word },
      i === 1 ? h("div", { class: "measure" }, h("span", { class: "strong" }), bar) : null,
    ),
  );
  return h("tr", { class: "feature" }, h("th", { scope: "row", "data-label": HEADS[0][0] }, opener(one, toggle)), cells);
}

export function updateRow(node, one) {
  const [, word, statistic, threshold, method, kind, rows] = node.cells;
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
