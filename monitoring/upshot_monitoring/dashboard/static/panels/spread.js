// How a feature's values are spread: its reference and now, as densities of numbers or as shares of categories.

import { colour, faint, plain } from "../charts.js";
import { NONE, figure, share } from "../format.js";

const MOST_CATEGORIES = 10;

/** Bins as {label, low, high, share}; the API gives [low, high, share] for numbers and [category, share] for the others. */
export function bins(side) {
  const list = Array.isArray(side) ? side : Object.entries(side ?? {});
  return list.map((one) => {
    if (!Array.isArray(one)) return { label: String(one.category ?? one.value ?? NONE), share: one.share };
    if (one.length === 3) return { low: one[0], high: one[1], share: one[2] };
    return { label: String(one[0]), share: one[1] };
  });
}

/** Bars as wide as their bins and as high as their density, so that areas are shares even where bins differ in width. */
export function numeric(sides) {
  // A few far values would squeeze the rest into one bar: the outer 0.2 % on either side is left to the table.
  const inside = sides.flatMap((list) => {
    let seen = 0;
    return list.filter((one) => {
      const before = seen;
      seen += one.share ?? 0;
      return seen > 0.002 && before < 0.998;
    });
  });
  const [low, high] = [Math.min(...inside.map((one) => one.low)), Math.max(...inside.map((one) => one.high))];
  const outline = (list, name, shade, filled) => {
    const [x, y, text] = [[], [], []];
    for (const one of [...list].sort((a, b) => a.low - b.low)) {
      const density = one.share / (one.high - one.low || 1);
      x.push(one.low, one.high);
      y.push(density, density);
      const said = `${figure(one.low, 2)} to ${figure(one.high, 2)}: ${share(one.share)}`;
      text.push(said, said);
    }
    if (x.length) {
      x.unshift(x[0]);
      y.unshift(0);
      text.unshift("");
      x.push(x.at(-1));
      y.push(0);
      text.push("");
    }
    return {
      type: "scatter",
      mode: "lines",
      name,
      x,
      y,
      text,
      line: { color: shade, width: filled ? 0.8 : 1.8, shape: "linear" },
      fill: filled ? "tozeroy" : "none",
      fillcolor: faint(shade, 0.3),
      hovertemplate: `${name} %{text}<extra></extra>`,
    };
  };
  return {
    data: [outline(sides[0], "Reference", colour("--muted"), true), outline(sides[1], "Now", colour("--v1"), false)],
    layout: {
      hovermode: "closest",
      xaxis: { range: Number.isFinite(low) ? [low, high] : undefined },
      yaxis: { rangemode: "tozero", showticklabels: false, title: { text: "Density" } },
    },
  };
}

export function categorical(sides) {
  const weight = new Map();
  for (const list of sides)
    for (const one of list) weight.set(one.label, Math.max(weight.get(one.label) ?? 0, one.share ?? 0));
  const labels = [...weight.entries()]
    .sort((a, b) => b[1] - a[1])
    .slice(0, MOST_CATEGORIES)
    .map(([label]) => label)
    .reverse();
  const bar = (list, name, shade) => {
    const shares = new Map(list.map((one) => [one.label, one.share]));
    return {
      type: "bar",
      orientation: "h",
      name,
      y: labels.map((_, i) => i),
      x: labels.map((label) => (shares.get(label) ?? 0) * 100),
      marker: { color: shade },
      text: labels.map((label) => `${plain(label)}: ${share(shares.get(label) ?? 0)}`),
      textposition: "none",
      hovertemplate: `${name} %{text}<extra></extra>`,
    };
  };
  return {
    data: [bar(sides[0], "Reference", faint(colour("--muted"), 0.55)), bar(sides[1], "Now", colour("--v1"))],
    layout: {
      barmode: "group",
      bargap: 0.3,
      yaxis: { tickvals: labels.map((_, i) => i), ticktext: labels.map((label) => plain(label, 18)), showgrid: false },
      xaxis: { ticksuffix: " %", rangemode: "tozero", showgrid: true, showline: false, nticks: 5 },
    },
  };
}
