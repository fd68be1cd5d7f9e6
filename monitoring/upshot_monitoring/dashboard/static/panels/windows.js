// Windows of performance as plotly traces: matured ones as a line with its interval, open ones dotted and hollow.

import { colour, faint, plain } from "../charts.js";
import { count, figure, instant, plotTime, span } from "../format.js";
import { metricName } from "../metrics.js";

/** Where a window stands on the time axis. */
export const middle = (window) => plotTime((instant(window.start) + instant(window.end)) / 2);

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
      y.push(...run.map((one) => intervalOf(one, metric)[1]), ...back.map((one) => intervalOf(one, metric)[0]), null);
    }
    run = [];
  };
  for (const one of windows) {
    const [low, high] = intervalOf(one, metric);
    if (typeof low === "number" && typeof high === "number") run.push(one);
    else close();
  }
  close();
  return { x, y };
}

/** A window's value; an open one's is what its labels say so far. */
export function valueOf(one, metric) {
  const value = (isOpen(one) ? one.so_far?.metrics?.[metric] : undefined) ?? one.metrics?.[metric];
  return typeof value === "number" ? value : null;
}

function intervalOf(one, metric) {
  return (isOpen(one) ? one.so_far?.intervals?.[metric] : undefined) ?? one.intervals?.[metric] ?? [];
}

function hover(one, metric, version) {
  const [low, high] = intervalOf(one, metric);
  const lines = [
    `<b>Version ${plain(version)}</b>  ${plain(span(one.start, one.end))}`,
    `${plain(metricName(metric))} ${figure(valueOf(one, metric))}${isOpen(one) ? " so far" : ""}${low === undefined ? "" : `  (${figure(low)} to ${figure(high)})`}`,
    `${count(one.matured)} of ${count(one.rows)} rows matured${isOpen(one) ? ": open, can still move" : ""}`,
  ];
  const estimated = one.estimated?.[metric];
  if (typeof estimated === "number") lines.push(`estimated ${figure(estimated)}`);
  return lines.join("<br>");
}

/** The traces of one version. `many`: so many windows that markers would hide the line. */
export function lines(version, windows, metric, shade, many) {
  const value = (one) => valueOf(one, metric);
  const name = `Version ${plain(version, 24)}`;
  const shared = { type: "scatter", legendgroup: version, hoverlabel: { bordercolor: shade } };
  const closed = windows.map((one) => (isOpen(one) ? null : value(one)));
  // The dashes reach back to the last closed window on either side, so that the line does not break.
  const dashed = windows.map((one, i) =>
    isOpen(one) || (windows[i + 1] && isOpen(windows[i + 1])) || (windows[i - 1] && isOpen(windows[i - 1]))
      ? value(one)
      : null,
  );
  const open = windows.filter((one) => isOpen(one) && value(one) !== null);
  const at = windows.map(middle);
  const outline = band(windows, metric);
  const estimated = windows.map((one) => one.estimated?.[metric] ?? null);
  const traces = [
    {
      ...shared,
      ...outline,
      mode: "lines",
      line: { width: 0 },
      fill: "toself",
      fillcolor: faint(shade, 0.13),
      hoverinfo: "skip",
      showlegend: false,
    },
    {
      ...shared,
      x: at,
      y: dashed,
      mode: "lines",
      line: { color: shade, width: 1.5, dash: "dot" },
      hoverinfo: "skip",
      showlegend: false,
    },
    {
      ...shared,
      x: at,
      y: closed,
      name,
      mode: many ? "lines" : "lines+markers",
      line: { color: shade, width: 2 },
      marker: { size: 5, color: shade },
      hovertemplate: "%{text}<extra></extra>",
      text: windows.map((one) => hover(one, metric, version)),
    },
    {
      ...shared,
      x: open.map(middle),
      y: open.map(value),
      mode: "markers",
      marker: { size: 6, color: colour("--card"), line: { color: shade, width: 1.5 } },
      hovertemplate: "%{text}<extra></extra>",
      text: open.map((one) => hover(one, metric, version)),
      showlegend: closed.every((one) => one === null),
      name,
    },
  ];
  if (estimated.some((one) => one !== null)) {
    traces.push({
      ...shared,
      x: at,
      y: estimated,
      mode: "lines",
      line: { color: shade, width: 1.2, dash: "dash" },
      opacity: 0.6,
      hoverinfo: "skip",
      name: `${name}, estimated`,
    });
  }
  return traces;
}

/** Rows by window over all versions: matured and still open. */
export function volume(answers) {
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
