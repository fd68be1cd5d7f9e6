// When labels arrive: the share of predictions that have theirs, with its band, and what a window would lose.

import { Chart, colour, faint } from "../charts.js";
import { follow, h, place, say } from "../dom.js";
import { NONE, duration, share } from "../format.js";

const TICKS_S = [1, 10, 60, 600, 3600, 6 * 3600, 86400, 7 * 86400, 30 * 86400, 90 * 86400, 365 * 86400];
const STEPS_S = [1, 5, 15, 60, 300, 900, 3600, 2 * 3600, 6 * 3600, 12 * 3600, 86400, 7 * 86400, 30 * 86400];
const MOST_TICKS = 8;
const WIDE = 60;
const known = (value) => typeof value === "number" && Number.isFinite(value);

/** The part of a label's block that `updateArrival` fills. */
export function makeArrival() {
  const node = h(
    "div",
    { "data-part": "delay" },
    h("h4", {}, "Share of predictions whose label has arrived, by time since the prediction"),
    h("div", { "data-part": "chart" }),
    h("p", { class: "sub", "data-part": "delays" }),
  );
  node.chart = new Chart(place(node, "chart"), { height: 210 });
  return node;
}

export function updateArrival(node, label) {
  const points = (label.delay_curve ?? []).filter(([seconds, of]) => known(seconds) && known(of));
  place(node, "chart").hidden = points.length === 0;
  say(place(node, "delays"), points.length ? words(label) : waiting(label));
  if (!points.length) return;
  const followed = Math.max(label.arrival?.followed_s ?? 0, points.at(-1)[0]);
  const band = (label.delay_band ?? []).filter((one) => one.every(known));
  // Delays that reach from seconds to months need a logarithmic axis, on which zero has no place.
  const first = points.find(([seconds]) => seconds > 0)?.[0] ?? 1;
  const wide = followed / first > WIDE;
  const start = wide ? first / 1.5 : 0;
  const drawn = [[start, 0], ...points.filter(([seconds]) => !wide || seconds > 0), [followed, points.at(-1)[1]]];
  const edges = band.length
    ? [[start, 0, 0], ...band.filter(([seconds]) => !wide || seconds > 0), [followed, band.at(-1)[1], band.at(-1)[2]]]
    : [];
  const step = STEPS_S.find((seconds) => followed / seconds <= MOST_TICKS) ?? STEPS_S.at(-1);
  const even = Array.from({ length: Math.floor(followed / step) + 1 }, (_, i) => i * step);
  const ticks = wide ? TICKS_S.filter((seconds) => seconds >= start && seconds <= followed * 1.2) : even;
  const window_ = known(label.window_s) && label.window_s <= followed ? label.window_s : null;
  node.chart.draw(
    () => {
      const shade = colour("--v1");
      const edge = (i) => ({
        type: "scatter",
        mode: "lines",
        x: edges.map((one) => one[0]),
        y: edges.map((one) => one[i] * 100),
        line: { width: 0, shape: "hv", color: shade },
        hoverinfo: "skip",
      });
      return {
        data: [
          ...(edges.length ? [edge(1), { ...edge(2), fill: "tonexty", fillcolor: faint(shade, 0.18) }] : []),
          {
            type: "scatter",
            mode: "lines",
            x: drawn.map(([seconds]) => seconds),
            y: drawn.map(([, of]) => of * 100),
            line: { color: shade, width: 2, shape: "hv" },
            text: drawn.map(([seconds, of]) => `${share(of)} within ${duration(seconds)}`),
            hovertemplate: "%{text}<extra></extra>",
          },
        ],
        layout: {
          margin: { l: 48, r: 16, t: 10, b: 30 },
          xaxis: { type: wide ? "log" : "linear", tickvals: ticks, ticktext: ticks.map(duration) },
          yaxis: { range: [0, 104], tickvals: [0, 25, 50, 75, 100], ticktext: ["0 %", "25 %", "50 %", "75 %", "100 %"] },
          shapes: window_
            ? [{ type: "line", x0: window_, x1: window_, yref: "paper", y0: 0, y1: 1, line: { color: colour("--muted"), width: 1, dash: "dot" } }]
            : [],
          annotations: window_
            ? [
                {
                  x: wide ? Math.log10(window_) : window_,
                  yref: "paper",
                  y: 0.04,
                  xanchor: window_ > followed / 2 ? "right" : "left",
                  text: "window",
                  showarrow: false,
                  font: { size: 11, color: colour("--muted") },
                },
              ]
            : [],
        },
      };
    },
    {
      summary: words(label),
      head: ["Within", "Share of predictions", "95 % interval"],
      rows: () =>
        points.map(([seconds, of], i) => [duration(seconds), share(of), band[i] ? `${share(band[i][1])} to ${share(band[i][2])}` : NONE]),
    },
  );
}

function waiting(label) {
  if (!label.predictions) return "";
  return label.labelled
    ? "The curve begins once predictions have been watched for a little longer than their labels took."
    : "No label has arrived yet.";
}

function words(label) {
  const { p50, p90, p99 } = label.delay_s ?? {};
  const arrival = label.arrival ?? {};
  const delays = `Of the labels that come, half come within ${duration(p50)}, 90 % within ${duration(p90)}, 99 % within ${duration(p99)}.`;
  if (!known(arrival.share)) return delays;
  return `${delays} After ${duration(arrival.followed_s)}, ${share(arrival.share)} of predictions have one (${share(arrival.low)} to ${share(arrival.high)}).`;
}

/** The advice about the window, below the two columns of a label's block. */
export function makeAdvice() {
  return h(
    "div",
    { class: "advice", "data-part": "advice" },
    h("p", { "data-part": "advice-text" }),
    h(
      "details",
      { class: "as-table" },
      h("summary", {}, "What other windows would lose"),
      h(
        "div",
        { class: "scroll" },
        h(
          "table",
          { class: "data small" },
          h("caption", { class: "hidden" }, "What each window would lose"),
          h("thead", {}, h("tr", {}, ["Window", "Too late", "95 % interval", ""].map((head) => h("th", { scope: "col" }, head)))),
          h("tbody", { "data-part": "windows" }),
        ),
      ),
    ),
  );
}

export function updateAdvice(node, label) {
  const advice = label.window_advice;
  const windows = advice?.windows ?? [];
  node.hidden = !advice?.text || !advice.arrived;
  say(place(node, "advice-text"), advice?.text ?? "");
  node.querySelector("details").hidden = !windows.length;
  const [least, little] = [advice?.recommended?.["0.01"], advice?.recommended?.["0.05"]];
  follow(
    place(node, "windows"),
    windows,
    (one) => String(one.window_s),
    () => h("tr", {}, h("th", { scope: "row" }), h("td"), h("td"), h("td", { class: "muted" })),
    (row, one) => {
      say(row.cells[0], duration(one.window_s));
      say(row.cells[1], share(one.late));
      say(row.cells[2], known(one.low) ? `${share(one.low)} to ${share(one.high)}` : NONE);
      const notes = [
        one.window_s === label.window_s ? "configured" : "",
        one.window_s === least ? "loses at most 1 %" : "",
        one.window_s === little && little !== least ? "loses at most 5 %" : "",
        one.late === null ? "not watched for that long yet" : "",
      ];
      say(row.cells[3], notes.filter(Boolean).join(", "));
    },
  );
  const head = node.querySelectorAll("thead th")[1];
  say(head, advice?.of === "positives" ? "Positives too late" : "Labels too late");
}
