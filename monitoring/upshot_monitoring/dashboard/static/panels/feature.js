// One feature, opened: how its statistic went, how its values are spread against the reference, and how many were missing.

import { Chart, colour, plain } from "../charts.js";
import { empty, h, say } from "../dom.js";
import { NONE, count, figure, instant, part, plotTime, share, span } from "../format.js";
import { Source } from "../live.js";
import { bins, categorical, numeric } from "./spread.js";

const middle = (window) => plotTime((instant(window.start) + instant(window.end)) / 2);

/** The open part of one row; `stop()` ends its polling. */
export class Feature {
  constructor(context, feature) {
    this.feature = feature;
    this.facts = h("p", { class: "sub" });
    this.parts = ["Statistic over time", "Reference and now", "Missing values"].map((title) =>
      h("div", { class: "detail-part" }, h("h4", {}, title), h("div")),
    );
    this.node = h("div", { class: "detail-body" }, this.facts, h("div", { class: "detail-grid" }, this.parts));
    this.charts = [];
    this.source = new Source(`${context.base}/features/${part(feature)}`, { periodMs: 5000 }).subscribe((answer) => {
      this.answer = answer;
      this.show();
    });
  }

  /** The row's verdict: its threshold is the line in the trend. */
  judgedBy(one, kind) {
    const said = JSON.stringify([one, kind]);
    if (said === this.said) return;
    Object.assign(this, { said, one });
    const others = Object.entries(one.statistics ?? {})
      .filter(([, value]) => typeof value === "number")
      .map(([key, value]) => `${key.replaceAll("_", " ")} ${figure(value, 4)}`);
    const judged = `${(one.method ?? "statistic").replaceAll("_", " ")} ${figure(one.statistic, 4)} against a threshold of ${figure(one.threshold, 3)}`;
    const rows = `${count(one.rows_reference)} reference rows, ${count(one.rows_current)} current rows`;
    say(this.facts, `${judged}; ${rows}.${others.length ? ` Other statistics: ${others.join(", ")}.` : ""}`);
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
    return this.chart(0).draw(
      () => {
        const shade = shades();
        const at = [judged[0].start, judged.at(-1).end].map((time) => plotTime(instant(time)));
        return {
          data: [
            {
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
                  `${plain(span(one.start, one.end))}<br>${figure(one.statistic, 4)} ${plain((one.verdict ?? "").replaceAll("_", " "))}, ${count(one.rows)} rows`,
              ),
              hovertemplate: "%{text}<extra></extra>",
            },
            ...(typeof threshold === "number"
              ? [
                  {
                    type: "scatter",
                    mode: "lines",
                    x: at,
                    y: [threshold, threshold],
                    line: { color: colour("--bad"), width: 1.2, dash: "dash" },
                    hoverinfo: "skip",
                  },
                ]
              : []),
          ],
          layout: {
            margin: { l: 48, r: 8, t: 8, b: 26 },
            xaxis: { type: "date", nticks: 5 },
            yaxis: { rangemode: "tozero", nticks: 5 },
          },
        };
      },
      {
        summary: `Statistic of ${this.feature} in ${judged.length} windows; ${judged.filter((one) => one.verdict === "drift").length} of them drifted.`,
        head: ["Window", "Statistic", "Verdict", "Rows", "Mean", "Std", "Min", "Max"],
        rows: () =>
          windows
            .map((one) => [
              span(one.start, one.end),
              figure(one.statistic, 4),
              (one.verdict ?? NONE).replaceAll("_", " "),
              count(one.rows),
              figure(one.mean),
              figure(one.std),
              figure(one.min),
              figure(one.max),
            ])
            .reverse(),
      },
    );
  }

  spread(histogram) {
    const sides = [bins(histogram?.reference), bins(histogram?.current)];
    if (!sides[0].length && !sides[1].length) return this.blank(1, "Not yet: there is no distribution to show.");
    const numbers = sides.every((list) => list.every((one) => one.label === undefined));
    return this.chart(1).draw(
      () => {
        const { data, layout } = numbers ? numeric(sides) : categorical(sides);
        return { data, layout: { showlegend: true, margin: { l: 30, r: 8, t: 26, b: 26 }, ...layout } };
      },
      {
        summary: `Values of ${this.feature}: reference and now.`,
        head: ["Value", "Reference", "Now"],
        rows: () => {
          const said = (one) => one.label ?? `${figure(one.low, 3)} to ${figure(one.high, 3)}`;
          const [reference, now] = sides.map((list) => new Map(list.map((one) => [said(one), one.share])));
          return [...new Set([...reference.keys(), ...now.keys()])].map((value) => [
            value,
            share(reference.get(value)),
            share(now.get(value)),
          ]);
        },
      },
    );
  }

  missing(windows) {
    if (!windows.length) return this.blank(2, "Not yet: no window is there.");
    const all = (key) => windows.reduce((sum, one) => sum + (one[key] ?? 0), 0);
    if (!all("nulls") && !all("absent"))
      return this.blank(2, `None: in ${count(all("rows"))} rows no value was null and none was absent.`);
    const line = (key, title, shade, dash) => ({
      type: "scatter",
      mode: "lines",
      name: title,
      x: windows.map(middle),
      y: windows.map(
        (one) => ((one[key] ?? 0) / Math.max(one.rows + (key === "absent" ? (one.absent ?? 0) : 0), 1)) * 100,
      ),
      line: { color: shade, width: 1.8, dash },
      text: windows.map((one) => `${plain(span(one.start, one.end))}<br>${count(one[key])} ${title.toLowerCase()}`),
      hovertemplate: "%{text}<extra></extra>",
    });
    return this.chart(2).draw(
      () => ({
        data: [line("nulls", "Null", colour("--v2"), "solid"), line("absent", "Absent", colour("--v4"), "dash")],
        layout: {
          showlegend: true,
          margin: { l: 48, r: 8, t: 26, b: 26 },
          xaxis: { type: "date", nticks: 5 },
          yaxis: { rangemode: "tozero", ticksuffix: " %", nticks: 4 },
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
