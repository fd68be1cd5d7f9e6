// A vector by its dimensions: those whose mean moved most, as bars in standard deviations, and what is said of all of them.

import { colour, plain } from "../charts.js";
import { count, figure, share } from "../format.js";

/** From here on one dimension is a finding by itself, as the server has it. */
const FAR = 0.5;

const ordered = (vector) => [...(vector?.moved ?? [])];
const label = (one) => `dim ${one.dimension}`;

/** The bars, the furthest on top. */
export function bars(vector) {
  const moved = ordered(vector).reverse();
  const said = (one) =>
    `${figure(one.shift, 3)} standard deviations${one.was_constant ? " (constant in the reference)" : ""}<br>` +
    `mean ${figure(one.mean_reference, 4)} to ${figure(one.mean_current, 4)}<br>` +
    `std ${figure(one.std_reference, 4)} to ${figure(one.std_current, 4)}`;
  const furthest = Math.max(FAR, ...moved.map((one) => Math.abs(one.shift)));
  return {
    data: [
      {
        type: "bar",
        orientation: "h",
        x: moved.map((one) => one.shift),
        y: moved.map(label),
        marker: { color: moved.map((one) => colour(Math.abs(one.shift) >= FAR ? "--bad" : "--v1")) },
        text: moved.map((one) => `${plain(label(one))}: ${said(one)}`),
        textposition: "none",
        hovertemplate: "%{text}<extra></extra>",
      },
    ],
    layout: {
      margin: { l: 60, r: 8, t: 8, b: 40 },
      bargap: 0.25,
      xaxis: {
        range: [-1.1 * furthest, 1.1 * furthest],
        zeroline: true,
        zerolinecolor: colour("--line"),
        nticks: 5,
        title: { text: "Move of the mean, in standard deviations" },
      },
      yaxis: { type: "category", nticks: moved.length, tickfont: { size: 10, color: colour("--muted") } },
    },
  };
}

/** The same as the rows of a table. */
export const HEAD = ["Dimension", "Move (std)", "Mean, reference", "Mean, now", "Std, reference", "Std, now"];
export const rowsOf = (vector) =>
  ordered(vector).map((one) => [
    String(one.dimension),
    figure(one.shift, 3),
    ...[one.mean_reference, one.mean_current, one.std_reference, one.std_current].map((value) => figure(value, 4)),
  ]);

/** What is said of all dimensions, and of the norm, in a sentence or two. */
export function words(vector, norm) {
  if (!vector) return "";
  const parts = [];
  if (vector.dimensions) {
    const all = vector.dimensions < vector.length ? `the first ${count(vector.dimensions)} of ` : "";
    parts.push(`${all}${count(vector.length)} dimensions`);
  }
  if (typeof vector.cosine === "number") parts.push(`cosine of the centroids ${figure(vector.cosine, 4)}`);
  if (typeof norm?.statistic === "number")
    parts.push(`the norm by ${norm.method} ${figure(norm.statistic, 4)} (${norm.verdict.replaceAll("_", " ")})`);
  return parts.length ? ` ${parts.join("; ").replace(/^./, (letter) => letter.toUpperCase())}.` : "";
}

/** The lengths of one side: the usual one, and how many others. */
export function lengthLines(vector) {
  const of = (side) => (side === "reference" ? vector?.lengths?.reference : vector?.lengths?.current) ?? [];
  const rows = (list) => list.reduce((sum, one) => sum + one.rows, 0);
  const usual = (list) => list.find((one) => one.length !== null);
  return [
    ["Length", (side) => count(usual(of(side))?.length)],
    [
      "Other lengths",
      (side) => {
        const list = of(side);
        return usual(list) && list.length > 1 ? share(1 - usual(list).rows / rows(list)) : "";
      },
    ],
  ];
}
