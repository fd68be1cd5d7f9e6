// Features: serving compared with a reference (skew) or with a baseline window (drift), one row per feature; a row opens.

import { choice, empty, follow, h, name, place, say } from "../dom.js";
import { NONE, count, figure, share, span } from "../format.js";
import { Source } from "../live.js";
import { reason, verdict } from "../verdict.js";
import { Feature } from "./feature.js";

const FEW = 40;
const KINDS = [
  ["drift", "Drift"],
  ["skew", "Skew"],
];
const MEANING = {
  drift: "Serving now against its baseline",
  skew: "Serving now against the training data",
};
const HEADS = [
  ["Feature"],
  ["Verdict"],
  ["Statistic against threshold"],
  ["Threshold", "num minor"],
  ["Method", "minor"],
  ["Kind", "minor"],
  ["Reference rows", "num minor"],
  ["Current rows", "num minor"],
];
const ORDER = { drift: 0, ok: 1, no_verdict: 2 };

/** P-values are small where distributions differ; every other statistic is large there. */
const isPValue = (method) => /p_?value|_test$/.test(method ?? "");
const excess = (one) => {
  if (typeof one.statistic !== "number" || !one.threshold) return -1;
  return isPValue(one.method) ? one.threshold / Math.max(one.statistic, 1e-300) : one.statistic / one.threshold;
};
const SHOWN_THRESHOLDS = 3;

export function mount(section, context) {
  const [body, controls, note] = [place(section, "body"), place(section, "controls"), place(section, "note")];
  let kind = KINDS.some(([key]) => key === context.asked.get("compare")) ? context.asked.get("compare") : "drift";
  let source = null;
  let wanted = "";
  let all = false;
  let order = [];
  const open = new Map();

  const search = h("input", {
    type: "search",
    placeholder: "Filter features",
    "aria-label": "Filter features",
    oninput: () => {
      wanted = search.value.toLowerCase();
      show();
    },
  });
  const rows = h("tbody");
  const more = h("button", {
    type: "button",
    class: "quiet",
    onclick: () => {
      all = true;
      show();
    },
  });
  const table = h(
    "div",
    { class: "scroll" },
    h(
      "table",
      { class: "data stack features" },
      h("caption", { class: "hidden" }, "Features with their verdicts, the most changed first"),
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          HEADS.map(([word, style]) => h("th", { scope: "col", class: style }, word)),
        ),
      ),
      rows,
    ),
    more,
  );
  const blank = h("div");
  body.replaceChildren(blank, table);

  controls.append(
    search,
    choice("Compare", KINDS, kind, (value) => {
      kind = value;
      context.remember("compare", value);
      order = [];
      turn();
    }),
  );

  function toggle(feature) {
    if (open.has(feature)) {
      open.get(feature).stop();
      open.delete(feature);
    } else open.set(feature, new Feature(context, feature));
    show();
  }

  function make({ feature, detail }) {
    if (detail) return h("tr", { class: "detail" }, h("td", { colspan: HEADS.length }, open.get(feature).node));
    const bar = h(
      "div",
      { class: "against", "aria-hidden": "true" },
      h("div", { class: "against-fill" }),
      h("div", { class: "against-mark" }),
    );
    const cell = (i, ...inside) => h("td", { class: HEADS[i][1], "data-label": HEADS[i][0] }, ...inside);
    return h(
      "tr",
      { class: "feature" },
      h(
        "th",
        { scope: "row", "data-label": "Feature" },
        h(
          "button",
          { type: "button", class: "open", "aria-expanded": "false", onclick: () => toggle(feature) },
          h("span", { class: "caret", "aria-hidden": "true" }),
          name(feature),
        ),
      ),
      cell(1),
      cell(2, h("div", { class: "measure" }, h("span", { class: "strong" }), bar)),
      cell(3),
      cell(4),
      cell(5),
      cell(6),
      cell(7),
    );
  }

  function update(node, { one, detail }) {
    if (detail) return;
    const [first, word, statistic, threshold, method, what, reference, current] = node.cells;
    first.firstChild.setAttribute("aria-expanded", String(open.has(one.feature)));
    node.classList.toggle("opened", open.has(one.feature));
    const said = `${one.verdict} ${one.reason ?? ""}`;
    if (word.dataset.said !== said) {
      word.dataset.said = said;
      const why = one.reason ?? "";
      word.replaceChildren(verdict(one.verdict, why));
      word.title = one.verdict === "no_verdict" && !why ? "no verdict" : reason(why);
    }
    say(statistic.querySelector(".strong"), figure(one.statistic, 4));
    const ratio = excess(one);
    const bar = statistic.querySelector(".against");
    bar.hidden = ratio < 0;
    bar.dataset.verdict = one.verdict;
    bar.classList.toggle("beyond", ratio > SHOWN_THRESHOLDS);
    bar.firstChild.style.width = `${(Math.min(Math.max(ratio, 0), SHOWN_THRESHOLDS) / SHOWN_THRESHOLDS) * 100}%`;
    say(threshold, figure(one.threshold, 3));
    say(method, (one.method ?? NONE).replaceAll("_", " "));
    say(what, (one.kind ?? NONE).replaceAll("_", " "));
    say(reference, count(one.rows_reference));
    say(current, count(one.rows_current));
  }

  /** Rows keep their places while someone is reading or has one open; otherwise the most changed come first. */
  function sorted(features) {
    const busy = open.size || table.matches(":hover") || table.contains(document.activeElement);
    if (!busy || !order.length) {
      order = [...features]
        .sort((a, b) => (ORDER[a.verdict] ?? 3) - (ORDER[b.verdict] ?? 3) || excess(b) - excess(a))
        .map((one) => one.feature);
    }
    const rank = new Map(order.map((feature, i) => [feature, i]));
    return [...features].sort((a, b) => (rank.get(a.feature) ?? order.length) - (rank.get(b.feature) ?? order.length));
  }

  function describe(data) {
    const baseline = data.baseline;
    const said =
      typeof baseline === "string"
        ? baseline
        : (baseline?.id ?? baseline?.reference ?? (baseline?.start ? span(baseline.start, baseline.end) : null));
    const window = data.window?.start ? ` Window: ${span(data.window.start, data.window.end)}.` : "";
    say(
      note,
      `${MEANING[kind]}${said ? ` (${said})` : ""}.${window}${typeof data.drifted_share === "number" ? ` ${share(data.drifted_share)} of the judged features drifted.` : ""}`,
    );
  }

  function show() {
    const answer = source?.answer;
    const features = answer?.data?.features ?? [];
    table.hidden = !features.length;
    search.hidden = features.length < 8;
    if (!features.length) {
      say(note, `${MEANING[kind]}.`);
      blank.replaceChildren(
        empty(
          answer
            ? `Not yet: ${kind === "skew" ? "there is no reference to compare with. Add the training set with upshot reference add" : "there is nothing to compare this model's serving with"}.`
            : "Loading…",
        ),
      );
      return;
    }
    blank.replaceChildren();
    describe(answer.data);
    const matching = sorted(features).filter((one) => !wanted || one.feature.toLowerCase().includes(wanted));
    const visible = all || wanted ? matching : matching.slice(0, FEW);
    more.hidden = visible.length === matching.length;
    say(more, `Show all ${count(matching.length)} features`);
    const items = visible.flatMap((one) =>
      open.has(one.feature)
        ? [
            { one, feature: one.feature },
            { one, feature: one.feature, detail: true },
          ]
        : [{ one, feature: one.feature }],
    );
    follow(rows, items, (item) => `${item.detail ? "detail" : "row"} ${item.feature}`, make, update);
    for (const one of visible) open.get(one.feature)?.judgedBy(one, kind);
  }

  function turn() {
    if (kind === "drift") {
      if (source && source !== context.sources.drift) source.stop();
      source = context.sources.drift;
    } else source = new Source(`${context.base}/skew`, { periodMs: 5000 }).subscribe(show);
    show();
  }
  context.sources.drift.subscribe(() => {
    if (kind === "drift") show();
  });
  turn();
}
