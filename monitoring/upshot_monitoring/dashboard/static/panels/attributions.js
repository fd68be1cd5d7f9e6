// Attributions: what each feature contributes to the predictions, and whether the ranking is what it was.

import { h } from "../dom.js";
import { NONE, count, figure, share } from "../format.js";
import { verdict } from "../verdict.js";
import { servingTable } from "./serving-table.js";

const HEADS = [
  ["Feature"],
  ["Share of all"],
  ["Before", "num"],
  ["Rank", "num"],
  ["Importance", "num minor"],
  ["Before", "num minor"],
  ["Verdict"],
];

function bar(value, most) {
  const width = `${most > 0 ? (value / most) * 100 : 0}%`;
  return h(
    "div",
    { class: "measure" },
    h("span", { class: "strong" }, share(value)),
    h("div", { class: "against plain", "aria-hidden": "true" }, h("div", { class: "against-fill", style: { width } })),
  );
}

function rank(one) {
  if (!one.rank_before || one.rank === one.rank_before) return count(one.rank);
  return `${count(one.rank)} (was ${count(one.rank_before)})`;
}

export function mount(section, context) {
  servingTable(section, context, {
    what: "attributions",
    role: "attribution",
    heads: HEADS,
    cells: (one) => [
      typeof one.share === "number" ? bar(one.share, 1) : NONE,
      typeof one.share_before === "number" ? share(one.share_before) : NONE,
      rank(one),
      figure(one.importance, 4),
      figure(one.importance_before, 4),
      verdict(one.verdict, one.reason),
    ],
    about: ({ ranking }) => {
      if (!ranking) return "There is nothing earlier to compare the ranking with.";
      const word = ranking.verdict.replaceAll("_", " ");
      if (typeof ranking.statistic !== "number") return `Ranking: ${word} (${ranking.reason}).`;
      const why = ranking.reason ? ` (${ranking.reason})` : "";
      return `Ranking: ${word}${why}; NDCG ${figure(ranking.statistic, 3)}, drift below ${figure(ranking.threshold, 2)}.`;
    },
  });
}
