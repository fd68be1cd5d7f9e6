// One feature, opened: how its statistic went, how its values are spread, and its figures on both sides.

import { Chart, colour, plain } from "../charts.js";
import { empty, h, say } from "../dom.js";
import { NONE, count, figure, instant, part, plotTime, share, span } from "../format.js";
import { Source } from "../live.js";
import * as dimensions from "./dimensions.js";
import { bins, categorical, numeric } from "./spread.js";

const HEIGHT = 230;
const LOW = 130;
const TITLES = ["Statistic over time", "Reference and now", "Figures", "Missing values", "Dimensions that moved most"];
const OF_VECTORS = { 1: "Norm, reference and now", 2: "Figures of the norm" };
const [TREND, SPREAD, FIGURES, MISSING, DIMENSIONS] = [0, 1, 2, 3, 4];
const SHAPE = { margin: { l: 48, r: 8, t: 8, b: 26 } };

const middle = (window) => plotTime((instant(window.start) + instant(window.end)) / 2);

/** The open part of one row; `stop()` ends its polling. */
export class Feature {
  constructor(context, one) {
    Object.assign(this, { context, feature: one.feature, charts: [], facts: h("p", { class: "sub" }) });
    this.parts = TITLES.map((title) => h("div", { class: "detail-part" }, h("h4", {}, title), h("div")));
    this.parts[MISSING].hidden = true;
    this.parts[DIMENSIONS].hidden = true;
    this.node = h(
      "div",
      { class: "detail-body" },
      this.facts,
      h(
        "div",
        { class: "detail-grid" },
        this.parts[TREND],
        h("div", { class: "detail-part" }, this.parts[DIMENSIONS], this.parts[SPREAD]),
        h("div", { class: "detail-part" }, this.parts[FIGURES], this.parts[MISSING]),
      ),
    );
    this.source = new Source(this.address(one, {}), { periodMs: 10000 }).subscribe((answer) => {
      this.answer = answer;
      this.show();
    });
  }

  address(one, { kind, baseline, version }) {
    const query = new URLSearchParams();
    if (one.role) query.set("role", one.role);
    if (version) query.set("version", version);
    if (kind === "skew") query.set("baseline", "reference");
    else if (baseline) query.set("baseline", baseline);
    const start = Math.max(this.context.rangeStart(), this.context.firstSeen);
    if (Number.isFinite(start)) query.set("start", new Date(start).toISOString());
    return `${this.context.base}/features/${part(this.feature)}${query.size ? `?${query}` : ""}`;
  }

  /** The row's verdict, whose threshold is the line in the trend, and the question it answers. */
  judgedBy(one, asked) {
    this.source.turnTo(this.address(one, asked));
    const said = JSON.stringify(one);
    if (said === this.said) return;
    Object.assign(this, { said, one });
    const named = ([key, value]) => `${key.replaceAll("_", " ")} ${figure(value, 4)}`;
    const others = Object.entries(one.statistics ?? {}).filter(
      ([key, value]) => typeof value === "number" && key !== one.method,
    );
    const judged = `${(one.method ?? "statistic").replaceAll("_", " ")} ${figure(one.statistic, 4)} against a threshold of ${figure(one.threshold, 3)}`;
    const rows = `${count(one.rows_reference)} reference rows, ${count(one.rows_current)} current rows`;
    const more = others.length ? ` By other methods: ${others.map(named).join(", ")}.` : "";
    this.judged = `${judged}; ${rows}.${more}`;
    this.show();
  }

  chart(i) {
    if (!this.charts[i]) {
      this.parts[i].lastChild.replaceChildren();
      this.charts[i] = new Chart(this.parts[i].lastChild, { height: i === MISSING ? LOW : HEIGHT });
    }
    return this.charts[i];
  }

  blank(i, words) {
    this.charts[i]?.stop();
    this.charts[i] = null;
    this.parts[i].lastChild.replaceChildren(empty(words));
  }

  show() {
    const data = this.answer?.data;
    say(this.facts, `${this.judged ?? ""}${dimensions.words(data?.vector, data?.norm)}`);
    if (!this.answer) return;
    const windows = data?.windows ?? [];
    for (const i of [SPREAD, FIGURES])
      say(this.parts[i].firstChild, data?.vector ? OF_VECTORS[i] : TITLES[i]);
    this.trend(windows);
    this.dimensions(data?.vector);
    this.spread(data?.histogram);
    this.figures(data);
    this.missing(windows);
  }

  trend(windows) {
    const judged = windows.filter((one) => typeof one.statistic === "number");
    if (!judged.length) {
      const why = windows.findLast((one) => one.reason)?.reason;
      return this.blank(TREND, `Not yet: no day has a statistic${why ? ` (${why})` : ""}.`);
    }
    const threshold = this.one?.threshold;
    const words = (one) => (one.verdict ?? NONE).replaceAll("_", " ");
    return this.chart(TREND).draw(
      () => {
        const shade = { drift: colour("--bad"), ok: colour("--good"), no_verdict: colour("--muted") };
        const line = {
          type: "scatter",
          mode: "lines+markers",
          x: judged.map(middle),
          y: judged.map((one) => one.statistic),
          line: { color: colour("--v1"), width: 1.5 },
          marker: {
            size: judged.length > 60 ? 3.5 : 6,
            symbol: judged.map((one) => (one.verdict === "drift" ? "diamond" : "circle")),
            color: judged.map((one) => shade[one.verdict] ?? shade.no_verdict),
          },
          text: judged.map(
            (one) =>
              `${plain(span(one.start, one.end))}<br>${figure(one.statistic, 4)} ${plain(words(one))}, ${count(one.rows)} rows`,
          ),
          hovertemplate: "%{text}<extra></extra>",
        };
        const limit = {
          type: "scatter",
          mode: "lines",
          x: [judged[0].start, judged.at(-1).end].map((time) => plotTime(instant(time))),
          y: [threshold, threshold],
          line: { color: colour("--bad"), width: 1.2, dash: "dash" },
          hoverinfo: "skip",
        };
        const layout = { ...SHAPE, xaxis: { type: "date", nticks: 5 }, yaxis: { rangemode: "tozero", nticks: 5 } };
        return { data: typeof threshold === "number" ? [line, limit] : [line], layout };
      },
      {
        summary: `Statistic of ${this.feature} in ${judged.length} windows; ${judged.filter((one) => one.verdict === "drift").length} of them drifted.`,
        head: ["Window", "Statistic", "Verdict", "Rows", "Mean", "Std", "Min", "Max"],
        rows: () =>
          windows
            .map((one) => [
              span(one.start, one.end),
              figure(one.statistic, 4),
              words(one),
              count(one.rows),
              ...[one.mean, one.std, one.min, one.max].map((value) => figure(value)),
            ])
            .reverse(),
      },
    );
  }

  dimensions(vector) {
    this.parts[DIMENSIONS].hidden = !vector;
    if (!vector) return undefined;
    if (!vector.moved?.length)
      return this.blank(DIMENSIONS, "No bars: there are no vectors of one length on both sides.");
    return this.chart(DIMENSIONS).draw(() => dimensions.bars(vector), {
      summary: `The dimensions of ${this.feature} whose mean moved most, in standard deviations of the reference.`,
      head: dimensions.HEAD,
      rows: () => dimensions.rowsOf(vector),
    });
  }

  spread(histogram) {
    const sides = [bins(histogram?.reference), bins(histogram?.current)];
    if (!sides[0].length && !sides[1].length) return this.blank(SPREAD, "Not yet: there is no distribution to show.");
    const numbers = sides.every((list) => list.every((one) => one.label === undefined));
    const said = (one) => one.label ?? `${figure(one.low)} to ${figure(one.high)}`;
    return this.chart(SPREAD).draw(
      () => {
        const { data, layout } = numbers ? numeric(sides) : categorical(sides);
        return { data, layout: { showlegend: true, margin: { l: 30, r: 8, t: 26, b: 26 }, ...layout } };
      },
      {
        summary: `Values of ${this.feature}: reference and now.`,
        head: ["Value", "Reference", "Now"],
        rows: () => {
          const [reference, now] = sides.map((list) => new Map(list.map((one) => [said(one), one.share])));
          const values = [...new Set([...reference.keys(), ...now.keys()])];
          return values.map((value) => [value, share(reference.get(value)), share(now.get(value))]);
        },
      },
    );
  }

  figures(data) {
    const sides = [data?.reference, data?.current];
    if (!sides[0] && !sides[1]) return this.blank(FIGURES, "Not yet: there are no figures.");
    const of = (key) => (side) => (key in (side ?? {}) ? figure(side[key]) : NONE);
    const missing = (side) =>
      side?.rows ? share(((side.nulls ?? 0) + (side.nan ?? 0) + (side.absent ?? 0)) / side.rows) : NONE;
    const lines = [
      ["Rows", (side) => count(side?.rows)],
      ["Missing", missing],
      ["Mean", of("mean")],
      ["Std", of("std")],
      ["Min", of("min")],
      ...["p5", "p50", "p95"].map((key) => [
        key === "p50" ? "Median" : `${key.slice(1)} %`,
        (side) => figure(side?.quantiles?.[key]),
      ]),
      ["Max", of("max")],
      ["Distinct values", (side) => count(side?.values)],
      ...(data?.vector
        ? dimensions.lengthLines(data.vector).map(([title, of_]) => [
            title,
            (side) => of_(side === data.reference ? "reference" : "current") || NONE,
          ])
        : []),
    ];
    const rows = lines
      .map(([title, say_]) => [title, ...sides.map(say_)])
      .filter(([, ...values]) => values.some((value) => value !== NONE));
    const heads = ["", "Reference", "Now"].map((word) =>
      word ? h("th", { scope: "col", class: "num" }, word) : h("td"),
    );
    const cells = ([title, ...values]) =>
      h(
        "tr",
        {},
        h("th", { scope: "row" }, title),
        values.map((value) => h("td", { class: "num" }, value)),
      );
    const said = JSON.stringify(rows);
    if (said === this.figuresSaid) return undefined;
    this.figuresSaid = said;
    const caption = h("caption", { class: "hidden" }, "Figures of both sides");
    return this.parts[FIGURES].lastChild.replaceChildren(
      h("table", { class: "data small" }, caption, h("thead", {}, h("tr", {}, heads)), h("tbody", {}, rows.map(cells))),
    );
  }

  missing(windows) {
    const all = (key) => windows.reduce((sum, one) => sum + (one[key] ?? 0), 0);
    const any = all("nulls") + all("absent") > 0;
    this.parts[MISSING].hidden = !any;
    if (!any) return;
    const line = (key, title, shade, dash) => ({
      type: "scatter",
      mode: "lines",
      name: title,
      x: windows.map(middle),
      y: windows.map((one) => ((one[key] ?? 0) / Math.max(one.rows ?? 0, 1)) * 100),
      line: { color: shade, width: 1.8, dash },
      text: windows.map((one) => `${plain(span(one.start, one.end))}<br>${count(one[key])} of ${count(one.rows)}`),
      hovertemplate: `${title}: %{text}<extra></extra>`,
    });
    this.chart(MISSING).draw(
      () => ({
        data: [line("nulls", "Null", colour("--v2"), "solid"), line("absent", "Absent", colour("--v4"), "dash")],
        layout: {
          ...SHAPE,
          showlegend: true,
          margin: { ...SHAPE.margin, t: 26 },
          xaxis: { type: "date", nticks: 5 },
          yaxis: { rangemode: "tozero", ticksuffix: " %", nticks: 3 },
        },
      }),
      {
        summary: `${count(all("nulls"))} nulls and ${count(all("absent"))} absent values.`,
        head: ["Window", "Rows", "Null", "Absent"],
        rows: () =>
          windows
            .map((one) => [span(one.start, one.end), count(one.rows), count(one.nulls), count(one.absent)])
            .reverse(),
      },
    );
  }

  stop() {
    this.source.stop();
    for (const chart of this.charts) chart?.stop();
  }
}
