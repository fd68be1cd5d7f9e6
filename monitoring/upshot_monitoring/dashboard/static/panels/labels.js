// Labels: how the outcomes of each label stand, and how long labels take to arrive.

import { Chart, colour, faint } from "../charts.js";
import { empty, follow, h, name, place, say } from "../dom.js";
import { count, duration, share } from "../format.js";

const STATES = [
  ["labelled", "a label has arrived"],
  ["defaulted", "window closed, the default applies"],
  ["pending", "still waited for"],
  ["retracted", "taken back"],
  ["censored", "cannot be known"],
];
const TICKS_S = [1, 10, 60, 600, 3600, 6 * 3600, 86400, 7 * 86400, 30 * 86400, 90 * 86400, 365 * 86400];
const STEPS_S = [1, 5, 15, 60, 300, 900, 3600, 2 * 3600, 6 * 3600, 12 * 3600, 86400, 7 * 86400, 30 * 86400];
const MOST_TICKS = 8;
const WIDE = 60;

function make(label) {
  const node = h(
    "section",
    { class: "label-block", "aria-label": `Label ${label.name}` },
    h(
      "div",
      {},
      h("h3", {}, name(label.name), " ", h("span", { class: "muted", "data-part": "coverage" })),
      h(
        "div",
        { class: "states-bar", "aria-hidden": "true" },
        STATES.map(([state]) => h("div", { class: `state-${state}` })),
      ),
      h(
        "dl",
        { class: "states" },
        STATES.map(([state, meaning]) =>
          h(
            "div",
            {},
            h(
              "dt",
              {},
              h("span", { class: `swatch state-${state}`, "aria-hidden": "true" }),
              state,
              h("span", { class: "why" }, ` ${meaning}`),
            ),
            h("dd", {}, h("span", { class: "strong" }), h("span", { class: "muted" })),
          ),
        ),
      ),
      h("p", { class: "sub", "data-part": "orphans" }),
    ),
    h("div", { "data-part": "delay" }, h("h4", {}, "Arrival of labels after the prediction")),
  );
  node.chart = new Chart(place(node, "delay"), { height: 210 });
  node.delays = h("p", { class: "sub" });
  place(node, "delay").append(node.delays);
  return node;
}

function curve(node, label) {
  const points = (label.delay_curve ?? []).filter(
    ([seconds, of]) => typeof seconds === "number" && typeof of === "number",
  );
  place(node, "delay").hidden = points.length < 2;
  if (points.length < 2) return;
  // Delays that reach from seconds to months need a logarithmic axis, on which zero has no place.
  const positive = points.filter(([seconds]) => seconds > 0);
  const [first, last] = [positive[0]?.[0] ?? 1, points.at(-1)[0]];
  const wide = last / first > WIDE;
  const seen = wide ? positive : [[0, 0], ...points];
  const step = STEPS_S.find((seconds) => last / seconds <= MOST_TICKS) ?? STEPS_S.at(-1);
  const even = Array.from({ length: Math.floor(last / step) + 1 }, (_, i) => i * step);
  const ticks = wide ? TICKS_S.filter((seconds) => seconds >= first / 3 && seconds <= last * 3) : even;
  node.chart.draw(
    () => {
      const shade = colour("--v1");
      return {
        data: [
          {
            type: "scatter",
            mode: "lines",
            x: seen.map(([seconds]) => seconds),
            y: seen.map(([, of]) => of * 100),
            line: { color: shade, width: 2 },
            fill: "tozeroy",
            fillcolor: faint(shade, 0.12),
            text: seen.map(([seconds, of]) => `${share(of)} within ${duration(seconds)}`),
            hovertemplate: "%{text}<extra></extra>",
          },
        ],
        layout: {
          margin: { l: 48, r: 16, t: 10, b: 30 },
          xaxis: { type: wide ? "log" : "linear", tickvals: ticks, ticktext: ticks.map(duration) },
          yaxis: { range: [0, 104], tickvals: [0, 25, 50, 75, 100], ticksuffix: " %" },
        },
      };
    },
    {
      summary: `Half of the labels arrive within ${duration(label.delay_s?.p50)}, 90 % within ${duration(label.delay_s?.p90)}.`,
      head: ["Within", "Share of labels"],
      rows: () => points.map(([seconds, of]) => [duration(seconds), share(of)]),
    },
  );
  say(
    node.delays,
    `Half within ${duration(label.delay_s?.p50)}, 90 % within ${duration(label.delay_s?.p90)}, 99 % within ${duration(label.delay_s?.p99)}.`,
  );
}

function update(node, label) {
  say(place(node, "coverage"), `coverage ${share(label.coverage)}`);
  const total = STATES.reduce((sum, [state]) => sum + (label[state] ?? 0), 0) || label.predictions;
  STATES.forEach(([state], i) => {
    const of = typeof label[state] === "number" && total ? label[state] / total : undefined;
    node.querySelector(".states-bar").children[i].style.flexGrow = String(of ?? 0);
    const [, numbers] = node.querySelector(".states").children[i].children;
    say(numbers.children[0], count(label[state]));
    say(numbers.children[1], share(of));
  });
  const orphans = label.orphans;
  say(
    place(node, "orphans"),
    orphans
      ? `${count(orphans)} label events are orphans: their prediction is not known (yet). They join at once when it arrives.`
      : orphans === 0
        ? "No orphans: every label event has found its prediction."
        : "",
  );
  curve(node, label);
}

export function mount(section, context) {
  const body = place(section, "body");
  const list = h("div", { class: "label-list" });
  context.sources.labels.subscribe(({ data }) => {
    const labels = data?.labels ?? [];
    if (!labels.length) {
      body.replaceChildren(
        empty(
          "Not yet: no label has arrived for this model. Labels are sent to ",
          h("code", {}, "POST /v1/labels"),
          " whenever the outcome is known.",
        ),
      );
      return;
    }
    if (!list.isConnected) body.replaceChildren(list);
    follow(list, labels, (label) => label.name, make, update);
  });
}
