// Performance over time: one metric, a line per version, and beneath it how many rows of each window are matured.

import { Chart, colour, faint, plain } from "../charts.js";
import { empty, h, place, say, select } from "../dom.js";
import { NONE, count, figure, instant, plotTime, share, span } from "../format.js";
import { metricName, metricsIn } from "../metrics.js";

const middle = (window) => plotTime((instant(window.start) + instant(window.end)) / 2);

/** A window is open while rows of it can still get or change their outcome. */
export const isOpen = (window) => (window.matured ?? 0) < (window.rows ?? 0);

/** Closed outlines around the intervals of neighbouring windows; a window without one interrupts the band. */
function band(windows, metric) {
  const [x, y] = [[], []];
  let run = [];
  const close = () => {
    if (run.length > 1) {
      const back = [...run].reverse();
      x.push(...run.map(middle), ...back.map(middle), null);
      y.push(...run.map((one) => one.intervals[metric][1]), ...back.map((one) => one.intervals[metric][0]), null);
    }
    run = [];
  };
  for (const one of windows) {
    const [low, high] = one.intervals?.[metric] ?? [];
    if (typeof low === "number" && typeof high === "number") run.push(one);
    else close();
  }
  close();
  return { x, y };
}

function hover(one, metric, version) {
  const [low, high] = one.intervals?.[metric] ?? [];
  const lines = [`<b>Version ${plain(version)}</b>  ${plain(span(one.start, one.end))}`,
    `${plain(metricName(metric))} ${figure(one.metrics?.[metric])}${low === undefined ? "" : `  (${figure(low)} to ${figure(high)})`}`,
    `${count(one.matured)} of ${count(one.rows)} rows matured${isOpen(one) ? ": open, can still move" : ""}`];
  const estimated = one.estimated?.[metric];
  if (typeof estimated === "number") lines.push(`estimated ${figure(estimated)}`);
  return lines.join("<br>");
}

function lines(version, windows, metric, shade, many) {
  const value = (one) => (typeof one.metrics?.[metric] === "number" ? one.metrics[metric] : null);
  const name = `Version ${plain(version, 24)}`;
  const shared = { type: "scatter", legendgroup: version, hoverlabel: { bordercolor: shade } };
  const closed = windows.map((one) => (isOpen(one) ? null : value(one)));
  // The dashes reach back to the last closed window on either side, so that the line does not break.
  const dashed = windows.map((one, i) => (isOpen(one) || (windows[i + 1] && isOpen(windows[i + 1])) || (windows[i - 1] && isOpen(windows[i - 1])) ? value(one) : null));
  const open = windows.filter((one) => isOpen(one) && value(one) !== null);
  const at = windows.map(middle);
  const outline = band(windows, metric);
  const estimated = windows.map((one) => one.estimated?.[metric] ?? null);
  const traces = [
    { ...shared, ...outline, mode: "lines", line: { width: 0 }, fill: "toself", fillcolor: faint(shade, 0.13), hoverinfo: "skip", showlegend: false },
    { ...shared, x: at, y: dashed, mode: "lines", line: { color: shade, width: 1.5, dash: "dot" }, hoverinfo: "skip", showlegend: false },
    { ...shared, x: at, y: closed, name, mode: many ? "lines" : "lines+markers", line: { color: shade, width: 2 }, marker: { size: 5, color: shade },
      hovertemplate: "%{text}<extra></extra>", text: windows.map((one) => hover(one, metric, version)) },
    { ...shared, x: open.map(middle), y: open.map(value), mode: "markers", marker: { size: 6, color: colour("--card"), line: { color: shade, width: 1.5 } },
      hovertemplate: "%{text}<extra></extra>", text: open.map((one) => hover(one, metric, version)), showlegend: closed.every((one) => one === null), name },
  ];
  if (estimated.some((one) => one !== null)) {
    traces.push({ ...shared, x: at, y: estimated, mode: "lines", line: { color: shade, width: 1.2, dash: "dash" }, opacity: 0.6, hoverinfo: "skip",
      name: `${name}, estimated` });
  }
  return traces;
}

/** Rows by window over all versions: matured and still open. */
function volume(answers) {
  const windows = new Map();
  for (const answer of answers) {
    for (const one of answer.windows ?? []) {
      const sum = windows.get(one.start) ?? { start: one.start, end: one.end, rows: 0, matured: 0 };
      sum.rows += one.rows ?? 0;
      sum.matured += one.matured ?? 0;
      windows.set(one.start, sum);
    }
  }
  return [...windows.values()].sort((a, b) => instant(a.start) - instant(b.start));
}

export function mount(section, context) {
  const [body, controls] = [place(section, "body"), place(section, "controls")];
  const legend = h("p", { class: "key" },
    h("span", { class: "key-closed", "aria-hidden": "true" }), "matured window ",
    h("span", { class: "key-open", "aria-hidden": "true" }), "open window: outcomes are still to come, the value can move ",
    h("span", { class: "key-band", "aria-hidden": "true" }), "confidence interval");
  let metric = context.asked.get("metric");
  let offered = "";
  let chart = null;

  function show() {
    const answers = [...context.performance].map(([version, source]) => [version, source.answer?.data]).filter(([, data]) => data);
    const metrics = metricsIn(answers.map(([, data]) => data));
    if (!metrics.length) {
      chart?.stop();
      chart = null;
      const waiting = [...context.performance.values()].some((source) => !source.answer);
      body.replaceChildren(empty(waiting ? "Loading…" : "Not yet: no window of this range has matured rows. Performance appears here as soon as labels have arrived for some predictions."));
      return;
    }
    if (!metrics.includes(metric)) [metric] = metrics;
    if (offered !== metrics.join()) {
      offered = metrics.join();
      controls.replaceChildren(select("Metric", metrics.map((one) => [one, metricName(one)]), metric, (value) => {
        metric = value;
        context.remember("metric", value);
        show();
      }));
    }
    if (!chart) {
      body.replaceChildren();
      chart = new Chart(body, { height: 360 });
      body.append(legend);
    }
    const sums = volume(answers.map(([, data]) => data));
    const label = answers.map(([, data]) => data.label).find(Boolean);
    say(place(section, "note"), `Computed on matured rows: those whose outcome${label ? ` (${label})` : ""} is final.`);
    chart.draw(() => {
      const muted = colour("--muted");
      const many = answers.some(([, data]) => (data.windows ?? []).length > 60);
      const width = sums.map((one) => (instant(one.end) - instant(one.start)) * 0.86);
      const bar = { type: "bar", x: sums.map(middle), width, yaxis: "y2", showlegend: false, hovertemplate: "%{text}<extra></extra>",
        text: sums.map((one) => `${plain(span(one.start, one.end))}<br>${count(one.matured)} of ${count(one.rows)} rows matured`), textposition: "none" };
      return {
        data: [
          ...answers.flatMap(([version, data]) => lines(version, data.windows ?? [], metric, colour(context.colourOf(version)), many)),
          { ...bar, y: sums.map((one) => one.matured), marker: { color: faint(muted, 0.55) } },
          { ...bar, y: sums.map((one) => one.rows - one.matured), marker: { color: faint(muted, 0.18), line: { color: faint(muted, 0.6), width: 0.6 } } },
        ],
        layout: {
          barmode: "stack", showlegend: answers.length > 1, margin: { l: 52, r: 12, t: answers.length > 1 ? 30 : 10, b: 30 },
          xaxis: { type: "date", anchor: "y2", range: sums.length ? [plotTime(instant(sums[0].start)), plotTime(instant(sums.at(-1).end))] : undefined },
          yaxis: { domain: [0.27, 1], title: { text: metricName(metric) } },
          yaxis2: { domain: [0, 0.17], title: { text: "Rows" }, nticks: 3, rangemode: "tozero", fixedrange: true },
        },
      };
    }, {
      summary: `${metricName(metric)} over time. ${answers.map(([version, data]) => `Version ${version}: ${figure(data.overall?.metrics?.[metric])} over ${count(data.overall?.matured)} matured rows`).join(". ")}.`,
      head: ["Version", "Window", metricName(metric), "Interval", "Rows", "Matured", "Coverage"],
      rows: () => answers.flatMap(([version, data]) => (data.windows ?? []).map((one) => {
        const interval = one.intervals?.[metric];
        return [version, span(one.start, one.end), figure(one.metrics?.[metric]), interval ? `${figure(interval[0])} to ${figure(interval[1])}` : NONE, count(one.rows),
          `${count(one.matured)}${isOpen(one) ? " (open)" : ""}`, share(one.coverage)];
      })).reverse(),
    });
  }

  const heard = new WeakSet();
  context.onVersions.add(() => {
    for (const source of context.performance.values()) {
      if (heard.has(source)) continue;
      heard.add(source);
      source.subscribe(show);
    }
    show();
  });
}
