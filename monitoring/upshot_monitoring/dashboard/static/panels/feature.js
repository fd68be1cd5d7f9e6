// One feature, opened: how its statistic went, how its values are spread against the reference, and how many were missing.

import { Chart, colour, faint, plain } from "../charts.js";
import { empty, h, say } from "../dom.js";
import { NONE, count, figure, instant, part, plotTime, share, span } from "../format.js";
import { Source } from "../live.js";

const MOST_CATEGORIES = 15;
const middle = (window) => plotTime((instant(window.start) + instant(window.end)) / 2);

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
function numeric(sides) {
  // A few far values would squeeze the rest into one bar: the outer 0.2 % on either side is left to the table.
  const inside = sides.flatMap((list) => {
    let seen = 0;
    return list.filter((one) => { const before = seen; seen += one.share ?? 0; return seen > 0.002 && before < 0.998; });
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
    if (x.length) { x.unshift(x[0]); y.unshift(0); text.unshift(""); x.push(x.at(-1)); y.push(0); text.push(""); }
    return { type: "scatter", mode: "lines", name, x, y, text, line: { color: shade, width: filled ? 0.8 : 1.8, shape: "linear" }, fill: filled ? "tozeroy" : "none",
      fillcolor: faint(shade, 0.3), hovertemplate: `${name} %{text}<extra></extra>` };
  };
  return {
    data: [outline(sides[0], "Reference", colour("--muted"), true), outline(sides[1], "Now", colour("--v1"), false)],
    layout: { hovermode: "closest", xaxis: { range: Number.isFinite(low) ? [low, high] : undefined }, yaxis: { rangemode: "tozero", showticklabels: false, title: { text: "Density" } } },
  };
}

function categorical(sides) {
  const weight = new Map();
  for (const list of sides) for (const one of list) weight.set(one.label, Math.max(weight.get(one.label) ?? 0, one.share ?? 0));
  const labels = [...weight.entries()].sort((a, b) => b[1] - a[1]).slice(0, MOST_CATEGORIES).map(([label]) => label).reverse();
  const bar = (list, name, shade) => {
    const shares = new Map(list.map((one) => [one.label, one.share]));
    return { type: "bar", orientation: "h", name, y: labels.map((_, i) => i), x: labels.map((label) => (shares.get(label) ?? 0) * 100), marker: { color: shade },
      text: labels.map((label) => `${plain(label)}: ${share(shares.get(label) ?? 0)}`), textposition: "none", hovertemplate: `${name} %{text}<extra></extra>` };
  };
  return {
    data: [bar(sides[0], "Reference", faint(colour("--muted"), 0.55)), bar(sides[1], "Now", colour("--v1"))],
    layout: { barmode: "group", bargap: 0.3, yaxis: { tickvals: labels.map((_, i) => i), ticktext: labels.map((label) => plain(label, 18)), showgrid: false },
      xaxis: { ticksuffix: " %", rangemode: "tozero", showgrid: true, showline: false, nticks: 5 } },
  };
}

/** The open part of one row; `stop()` ends its polling. */
export class Feature {
  constructor(context, feature) {
    this.feature = feature;
    this.facts = h("p", { class: "sub" });
    this.parts = ["Statistic over time", "Reference and now", "Missing values"].map((title) => h("div", { class: "detail-part" }, h("h4", {}, title), h("div")));
    this.node = h("div", { class: "detail-body" }, this.facts, h("div", { class: "detail-grid" }, this.parts));
    this.charts = [];
    this.source = new Source(`${context.base}/features/${part(feature)}`, { periodMs: 5000 }).subscribe((answer) => { this.answer = answer; this.show(); });
  }

  /** The row's verdict: its threshold is the line in the trend. */
  judgedBy(one, kind) {
    const said = JSON.stringify([one, kind]);
    if (said === this.said) return;
    Object.assign(this, { said, one });
    const others = Object.entries(one.statistics ?? {}).filter(([, value]) => typeof value === "number").map(([key, value]) => `${key.replaceAll("_", " ")} ${figure(value, 4)}`);
    say(this.facts, others.length ? `Other statistics: ${others.join(", ")}.` : "");
    this.show();
  }

  chart(i) {
    if (!this.charts[i]) {
      this.parts[i].lastChild.replaceChildren();
      this.charts[i] = new Chart(this.parts[i].lastChild, { height: 200 });
    }
    return this.charts[i];
  }

  blank(i, words) {
    this.charts[i]?.stop();
    this.charts[i] = null;
    this.parts[i].lastChild.replaceChildren(empty(words));
  }

  show() {
    if (!this.answer) return;
    const windows = this.answer.data?.windows ?? [];
    this.trend(windows);
    this.spread(this.answer.data?.histogram);
    this.missing(windows);
  }

  trend(windows) {
    const judged = windows.filter((one) => typeof one.statistic === "number");
    if (!judged.length) return this.blank(0, "Not yet: no window has a statistic.");
    const threshold = this.one?.threshold;
    const shades = () => ({ drift: colour("--bad"), ok: colour("--good"), no_verdict: colour("--muted") });
    return this.chart(0).draw(() => {
      const shade = shades();
      const at = [judged[0].start, judged.at(-1).end].map((time) => plotTime(instant(time)));
      return {
        data: [
          { type: "scatter", mode: "lines+markers", x: judged.map(middle), y: judged.map((one) => one.statistic), line: { color: colour("--v1"), width: 1.5 },
            marker: { size: judged.length > 60 ? 4 : 6, symbol: judged.map((one) => (one.verdict === "drift" ? "diamond" : "circle")), color: judged.map((one) => shade[one.verdict] ?? shade.no_verdict) },
            text: judged.map((one) => `${plain(span(one.start, one.end))}<br>${figure(one.statistic, 4)} ${plain((one.verdict ?? "").replaceAll("_", " "))}, ${count(one.rows)} rows`),
            hovertemplate: "%{text}<extra></extra>" },
          ...(typeof threshold === "number" ? [{ type: "scatter", mode: "lines", x: at, y: [threshold, threshold], line: { color: colour("--bad"), width: 1.2, dash: "dash" }, hoverinfo: "skip" }] : []),
        ],
        layout: { margin: { l: 48, r: 8, t: 8, b: 26 }, xaxis: { type: "date", nticks: 5 }, yaxis: { rangemode: "tozero", nticks: 5 } },
      };
    }, {
      summary: `Statistic of ${this.feature} in ${judged.length} windows; ${judged.filter((one) => one.verdict === "drift").length} of them drifted.`,
      head: ["Window", "Statistic", "Verdict", "Rows", "Mean", "Std", "Min", "Max"],
      rows: () => windows.map((one) => [span(one.start, one.end), figure(one.statistic, 4), (one.verdict ?? NONE).replaceAll("_", " "), count(one.rows), figure(one.mean), figure(one.std), figure(one.min), figure(one.max)]).reverse(),
    });
  }

  spread(histogram) {
    const sides = [bins(histogram?.reference), bins(histogram?.current)];
    if (!sides[0].length && !sides[1].length) return this.blank(1, "Not yet: there is no distribution to show.");
    const numbers = sides.every((list) => list.every((one) => one.label === undefined));
    return this.chart(1).draw(() => {
      const { data, layout } = numbers ? numeric(sides) : categorical(sides);
      return { data, layout: { showlegend: true, margin: { l: 30, r: 8, t: 26, b: 26 }, ...layout } };
    }, {
      summary: `Values of ${this.feature}: reference and now.`,
      head: ["Value", "Reference", "Now"],
      rows: () => {
        const said = (one) => one.label ?? `${figure(one.low, 3)} to ${figure(one.high, 3)}`;
        const [reference, now] = sides.map((list) => new Map(list.map((one) => [said(one), one.share])));
        return [...new Set([...reference.keys(), ...now.keys()])].map((value) => [value, share(reference.get(value)), share(now.get(value))]);
      },
    });
  }

  missing(windows) {
    if (!windows.length) return this.blank(2, "Not yet: no window is there.");
    const all = (key) => windows.reduce((sum, one) => sum + (one[key] ?? 0), 0);
    if (!all("nulls") && !all("absent")) return this.blank(2, `None: in ${count(all("rows"))} rows no value was null and none was absent.`);
    const line = (key, title, shade, dash) => ({ type: "scatter", mode: "lines", name: title, x: windows.map(middle), y: windows.map((one) => ((one[key] ?? 0) / Math.max(one.rows + (key === "absent" ? (one.absent ?? 0) : 0), 1)) * 100),
      line: { color: shade, width: 1.8, dash }, text: windows.map((one) => `${plain(span(one.start, one.end))}<br>${count(one[key])} ${title.toLowerCase()}`), hovertemplate: "%{text}<extra></extra>" });
    return this.chart(2).draw(() => ({
      data: [line("nulls", "Null", colour("--v2"), "solid"), line("absent", "Absent", colour("--v4"), "dash")],
      layout: { showlegend: true, margin: { l: 48, r: 8, t: 26, b: 26 }, xaxis: { type: "date", nticks: 5 }, yaxis: { rangemode: "tozero", ticksuffix: " %", nticks: 4 } },
    }), {
      summary: `${count(all("nulls"))} nulls and ${count(all("absent"))} absent values.`,
      head: ["Window", "Rows", "Null", "Absent"], rows: () => windows.map((one) => [span(one.start, one.end), count(one.rows), count(one.nulls), count(one.absent)]).reverse(),
    });
  }

  stop() {
    this.source.stop();
    for (const chart of this.charts) chart?.stop();
  }
}
