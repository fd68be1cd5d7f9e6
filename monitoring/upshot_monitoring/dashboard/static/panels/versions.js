// Versions side by side: every metric with its interval on one scale, and the paired difference of two of them.

import { empty, h, name, place, s, select } from "../dom.js";
import { NONE, count, figure, part, share, utc } from "../format.js";
import { better, metricName, metricsIn } from "../metrics.js";
import { Source } from "../live.js";
import { colour } from "../charts.js";

/** Dot and interval on a scale shared by the cells of one row. */
function whisker(value, [low, high], [from, to], shade) {
  const at = (n) => 4 + ((n - from) / (to - from || 1)) * 112;
  return s(
    "svg",
    { class: "whisker", viewBox: "0 0 120 14", width: 120, height: 14, "aria-hidden": "true" },
    s("line", { x1: 2, x2: 118, y1: 7, y2: 7, class: "whisker-base" }),
    s("line", {
      x1: at(low),
      x2: at(high),
      y1: 7,
      y2: 7,
      stroke: shade,
      "stroke-width": 3,
      "stroke-linecap": "round",
      opacity: 0.45,
    }),
    s("circle", { cx: at(value), cy: 7, r: 3.6, fill: shade }),
  );
}

function metricRow(metric, columns, context) {
  const intervals = columns.map(
    ({ overall }) => overall?.intervals?.[metric] ?? [overall?.metrics?.[metric], overall?.metrics?.[metric]],
  );
  const ends = intervals.flat().filter((n) => typeof n === "number");
  const scale = [Math.min(...ends), Math.max(...ends)];
  return h(
    "tr",
    {},
    h(
      "th",
      { scope: "row" },
      metricName(metric),
      better(metric)
        ? h("span", { class: "why" }, better(metric) > 0 ? " higher is better" : " lower is better")
        : null,
    ),
    columns.map(({ version, overall }, i) => {
      const value = overall?.metrics?.[metric];
      if (typeof value !== "number") return h("td", {}, NONE);
      const interval = overall.intervals?.[metric];
      return h(
        "td",
        {},
        h(
          "div",
          { class: "measure" },
          h("span", { class: "strong" }, figure(value)),
          interval ? h("span", { class: "muted" }, `${figure(interval[0])} to ${figure(interval[1])}`) : null,
          interval
            ? columns.length > 1 && whisker(value, intervals[i], scale, colour(context.colourOf(version)))
            : null,
        ),
      );
    }),
  );
}

/** The paired comparison as a sentence; what it says depends on whether the interval leaves zero out. */
export function conclusion({ metric, rows, a, b, difference, values }) {
  const value = difference?.value ?? NaN;
  const [low, high] = difference?.interval ?? [];
  const called = metricName(metric);
  const about = `${figure(Math.abs(value))} ${called}`;
  const on = `on the ${count(rows)} matured requests both scored`;
  const range = low === undefined ? "" : ` (difference ${figure(low)} to ${figure(high)})`;
  if (Number.isNaN(value)) return `${called} of versions ${a} and ${b} cannot be compared yet.`;
  if (low !== undefined && low <= 0 && high >= 0)
    return `No difference can be told: ${called} ${figure(values?.a?.value)} against ${figure(values?.b?.value)} ${on}${range}.`;
  const direction = better(metric) * Math.sign(value);
  const word = direction > 0 ? "better" : direction < 0 ? "worse" : value > 0 ? "higher" : "lower";
  return `Version ${b} is ${word} than version ${a} by ${about} ${on}${range}.`;
}

export function mount(section, context) {
  const [body, controls] = [place(section, "body"), place(section, "controls")];
  const verdict = h("p", { class: "conclusion", hidden: true });
  const head = h("tr");
  const rows = h("tbody");
  const table = h(
    "div",
    { class: "scroll" },
    h(
      "table",
      { class: "data sides" },
      h("caption", { class: "hidden" }, "Versions side by side"),
      h("thead", {}, head),
      rows,
    ),
  );
  let pair = [];
  let compare = null;

  function show() {
    const known = new Map(
      (context.sources.model.answer?.data?.versions ?? []).map((one) => [String(one.version), one]),
    );
    const columns = [...context.performance].map(([version, source]) => ({
      version,
      known: known.get(version),
      overall: source.answer?.data?.overall,
    }));
    if (!columns.length) {
      body.replaceChildren(empty("Not yet: no version has logged a prediction."));
      return;
    }
    head.replaceChildren(
      h("td"),
      ...columns.map(({ version }) =>
        h(
          "th",
          { scope: "col" },
          h("span", {
            class: "swatch",
            style: { background: colour(context.colourOf(version)) },
            "aria-hidden": "true",
          }),
          "Version ",
          name(version),
        ),
      ),
    );
    const line = (title, value) =>
      h(
        "tr",
        {},
        h("th", { scope: "row" }, title),
        columns.map((one) => h("td", {}, value(one))),
      );
    rows.replaceChildren(
      line("Predictions", (one) => count(one.known?.predictions)),
      line("Serving", (one) => h("span", {}, utc(one.known?.first_seen), h("br"), `to ${utc(one.known?.last_seen)}`)),
      line("Matured rows", (one) => `${count(one.overall?.matured)} of ${count(one.overall?.rows)}`),
      line("Coverage", (one) => share(one.overall?.coverage)),
      ...metricsIn(columns).map((metric) => metricRow(metric, columns, context)),
    );
    if (!table.isConnected) body.replaceChildren(verdict, table);
  }

  function turn() {
    const address = `${context.base}/compare?a=${part(pair[0])}&b=${part(pair[1])}`;
    if (compare) compare.turnTo(address);
    else {
      compare = new Source(address, { periodMs: 10000 }).subscribe(({ data }) => {
        verdict.hidden = !data;
        if (data) verdict.replaceChildren(conclusion({ ...data, a: data.a ?? pair[0], b: data.b ?? pair[1] }));
      });
    }
  }

  const heard = new WeakSet();
  context.onVersions.add(() => {
    for (const source of context.performance.values()) {
      if (heard.has(source)) continue;
      heard.add(source);
      source.subscribe(show);
    }
    if (context.versions.length > 1) {
      pair = context.versions.slice(-2);
      const options = context.versions.map((one) => [one, one]);
      const choose = (i) => (value) => {
        pair[i] = value;
        turn();
      };
      controls.replaceChildren(
        select("Compare", options, pair[0], choose(0)),
        select("with", options, pair[1], choose(1)),
      );
      turn();
    }
    show();
  });
  context.sources.model.subscribe(show);
}
