// Performance over time: one metric, a line per version, and beneath it how many rows of each window are matured.

import { Chart, colour, faint, plain } from "../charts.js";
import { asPython, empty, h, place, say, select } from "../dom.js";
import { NONE, count, figure, instant, plotTime, share, span } from "../format.js";
import { metricName, metricsIn } from "../metrics.js";
import { isOpen, lines, middle, valueOf, volume } from "./windows.js";

/** The share of the predictions that may be on the way to the roll-ups without a word. */
const KEEPS_UP = 0.02;
const WINDOWS = [
  ["auto", "automatic"],
  ["1h", "hour"],
  ["6h", "6 hours"],
  ["1d", "day"],
  ["7d", "week"],
];

/** What to say while the roll-ups lag behind the predictions; nothing while they keep up. */
function behind(context, answers) {
  if (context.range !== "all") return "";
  const served = new Map((context.sources.model.answer?.data?.versions ?? []).map((one) => [String(one.version), one]));
  let [rows, predictions] = [0, 0];
  for (const [version, data] of answers) {
    rows += data.overall?.rows ?? 0;
    predictions += served.get(version)?.predictions ?? 0;
  }
  return predictions - rows > predictions * KEEPS_UP
    ? `Still being rolled up: ${count(rows)} of ${count(predictions)} predictions are in these figures.`
    : "";
}

export function mount(section, context) {
  const [body, controls] = [place(section, "body"), place(section, "controls")];
  const key = (style, words) => h("span", {}, h("span", { class: style, "aria-hidden": "true" }), words);
  const legend = h(
    "p",
    { class: "key" },
    key("key-closed", "matured window"),
    key("key-open", "open window: outcomes are still to come, the value can move"),
    key("key-band", "confidence interval"),
  );
  const code = h("span", {});
  let metric = context.asked.get("metric");
  let offered = "";
  let chart = null;

  function show() {
    const answers = [...context.performance]
      .map(([version, source]) => [version, source.answer?.data])
      .filter(([, data]) => data);
    const metrics = metricsIn(answers.map(([, data]) => data));
    if (!metrics.length) {
      chart?.stop();
      chart = null;
      const waiting =
        !context.sources.model.answer || [...context.performance.values()].some((source) => !source.answer);
      body.replaceChildren(
        waiting
          ? h("p", { class: "loading" }, "Loading…")
          : empty(
              "Not yet: no row of this range has a label. Performance appears here as soon as the first labels arrive.",
            ),
      );
      return;
    }
    if (!metrics.includes(metric)) [metric] = metrics;
    const { address } = [...context.performance.values()].at(-1);
    if (code.dataset.address !== address) {
      code.dataset.address = address;
      code.replaceChildren(asPython(address));
    }
    if (offered !== metrics.join()) {
      offered = metrics.join();
      const chooseMetric = (value) => {
        metric = value;
        context.remember("metric", value);
        show();
      };
      controls.replaceChildren(
        select("Window", WINDOWS, context.length, (value) => context.choose(value)),
        select(
          "Metric",
          metrics.map((one) => [one, metricName(one)]),
          metric,
          chooseMetric,
        ),
        code,
      );
    }
    if (!chart) {
      body.replaceChildren();
      chart = new Chart(body, { height: 360 });
      body.append(legend);
    }
    const sums = volume(answers.map(([, data]) => data));
    const label = answers.map(([, data]) => data.label).find(Boolean);
    const late = behind(context, answers);
    say(
      place(section, "note"),
      `Computed on matured rows: those whose outcome${label ? ` (${label})` : ""} is final.${late ? ` ${late}` : ""}`,
    );
    chart.draw(
      () => {
        const muted = colour("--muted");
        const many = answers.some(([, data]) => (data.windows ?? []).length > 60);
        const width = sums.map((one) => (instant(one.end) - instant(one.start)) * 0.86);
        const bar = {
          type: "bar",
          x: sums.map(middle),
          width,
          yaxis: "y2",
          showlegend: false,
          hovertemplate: "%{text}<extra></extra>",
          text: sums.map(
            (one) => `${plain(span(one.start, one.end))}<br>${count(one.matured)} of ${count(one.rows)} rows matured`,
          ),
          textposition: "none",
        };
        return {
          data: [
            ...answers.flatMap(([version, data]) =>
              lines(version, data.windows ?? [], metric, colour(context.colourOf(version)), many),
            ),
            { ...bar, y: sums.map((one) => one.matured), marker: { color: faint(muted, 0.55) } },
            {
              ...bar,
              y: sums.map((one) => one.rows - one.matured),
              marker: { color: faint(muted, 0.18), line: { color: faint(muted, 0.6), width: 0.6 } },
            },
          ],
          layout: {
            barmode: "stack",
            showlegend: answers.length > 1,
            margin: { l: 52, r: 12, t: answers.length > 1 ? 30 : 10, b: 30 },
            xaxis: {
              type: "date",
              anchor: "y2",
              range: sums.length ? [plotTime(instant(sums[0].start)), plotTime(instant(sums.at(-1).end))] : undefined,
            },
            yaxis: { domain: [0.27, 1], title: { text: metricName(metric) } },
            yaxis2: { domain: [0, 0.17], title: { text: "Rows" }, nticks: 3, rangemode: "tozero", fixedrange: true },
          },
        };
      },
      {
        summary: `${metricName(metric)} over time. ${answers.map(([version, data]) => `Version ${version}: ${figure(data.overall?.metrics?.[metric])} over ${count(data.overall?.matured)} matured rows`).join(". ")}.`,
        head: ["Version", "Window", metricName(metric), "Interval", "Rows", "Matured", "Coverage"],
        rows: () =>
          answers
            .flatMap(([version, data]) =>
              (data.windows ?? []).map((one) => {
                const interval = one.intervals?.[metric];
                return [
                  version,
                  span(one.start, one.end),
                  figure(valueOf(one, metric)),
                  interval ? `${figure(interval[0])} to ${figure(interval[1])}` : NONE,
                  count(one.rows),
                  `${count(one.matured)}${isOpen(one) ? " (open)" : ""}`,
                  share(one.coverage),
                ];
              }),
            )
            .reverse(),
      },
    );
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
  context.sources.model.subscribe(() => {
    if (!context.performance.size) show();
  });
}
