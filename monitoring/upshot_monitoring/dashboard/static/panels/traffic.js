// Traffic: predictions by day (or by hour in a short range), stacked by version.

import { Chart, colour, plain } from "../charts.js";
import { empty, place } from "../dom.js";
import { count, instant, plotTime, span } from "../format.js";

const LENGTH_MS = { hour: 3600000, day: 86400000 };

export function mount(section, context) {
  const body = place(section, "body");
  let chart = null;

  function bucket() {
    const known = context.sources.model.answer?.data?.versions ?? [];
    const first = Math.min(...known.map((one) => instant(one.first_seen)).filter((ms) => !Number.isNaN(ms)));
    const start = Math.max(context.rangeStart(), first);
    return context.lastSeen - start < 8 * LENGTH_MS.day ? "hour" : "day";
  }

  function turn() {
    const query = new URLSearchParams({ bucket: bucket() });
    const start = context.rangeStart();
    if (start !== -Infinity) query.set("start", new Date(start).toISOString());
    context.sources.traffic.turnTo(`${context.base}/traffic?${query}`);
  }

  function show() {
    const answer = context.sources.traffic.answer;
    if (!answer) return;
    const all = answer.data?.points ?? [];
    if (!all.length) {
      chart?.stop();
      chart = null;
      body.replaceChildren(empty("Not yet: no prediction has arrived."));
      return;
    }
    if (!chart) {
      body.replaceChildren();
      chart = new Chart(body, { height: 260 });
    }
    const from = context.rangeStart();
    const points = all.filter((one) => instant(one.start) >= from);
    const length = LENGTH_MS[answer.data.bucket] ?? LENGTH_MS.day;
    const versions = [...new Set([...context.versions, ...points.map((one) => String(one.version))])].filter(
      (version) => points.some((one) => String(one.version) === version),
    );
    const window = (one) => span(one.start, new Date(instant(one.start) + length).toISOString());
    chart.draw(
      () => ({
        data: versions.map((version) => {
          const own = points.filter((one) => String(one.version) === version);
          return {
            type: "bar",
            name: `Version ${plain(version, 24)}`,
            x: own.map((one) => plotTime(instant(one.start) + length / 2)),
            y: own.map((one) => one.predictions),
            width: own.map(() => length * 0.86),
            marker: { color: colour(context.colourOf(version)) },
            text: own.map((one) => `${plain(window(one))}<br>Version ${plain(version)}: ${count(one.predictions)}`),
            textposition: "none",
            hovertemplate: "%{text}<extra></extra>",
          };
        }),
        layout: {
          barmode: "stack",
          showlegend: versions.length > 1,
          legend: { traceorder: "normal" },
          margin: { l: 48, r: 8, t: versions.length > 1 ? 30 : 10, b: 30 },
          xaxis: { type: "date" },
          yaxis: { rangemode: "tozero", title: { text: `Predictions per ${answer.data.bucket ?? "day"}` } },
        },
      }),
      {
        summary: `Predictions per ${answer.data.bucket ?? "day"}: ${count(points.reduce((sum, one) => sum + one.predictions, 0))} in this range.`,
        head: ["Time", "Version", "Predictions"],
        rows: () => points.map((one) => [window(one), one.version, count(one.predictions)]).reverse(),
      },
    );
  }

  context.sources.traffic.subscribe(show);
  context.onVersions.add(() => {
    turn();
    show();
  });
  context.onRange.add(() => {
    turn();
    show();
  });
}
