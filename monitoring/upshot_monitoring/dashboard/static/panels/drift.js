// Features: serving compared with the training data (skew) or with a baseline (drift), one row per feature; a row opens.

import { asPython, choice, empty, h, place, say, select } from "../dom.js";
import { count, instant, span } from "../format.js";
import { Source } from "../live.js";
import { HEADS, excess, makeRow, updateRow } from "./feature-row.js";
import { OpeningRows, keyOf } from "./opening.js";

const FEW = 40;
const LATE_MS = 6 * 3600000;
const FILTER_FROM = 8;
const KINDS = [
  ["drift", "Drift"],
  ["skew", "Skew"],
];
const BASELINES = [
  ["", "as configured"],
  ["reference", "training data"],
  ["previous", "the window before"],
  ["last_week", "a week before"],
];
export const CALLED = {
  reference: "the training data",
  previous: "the window before",
  last_week: "the same window a week before",
};
/** Columns that have a panel of their own. */
const ELSEWHERE = ["freshness", "attribution", "ranking"];
const ORDER = { drift: 0, ok: 1, no_verdict: 2 };

export function mount(section, context) {
  const [body, controls, note] = [place(section, "body"), place(section, "controls"), place(section, "note")];
  const asked = { kind: context.asked.get("compare") === "skew" ? "skew" : "drift", baseline: "", version: "" };
  let source = context.sources.drift;
  let wanted = "";
  let all = false;
  let order = [];

  const search = h("input", { type: "search", placeholder: "Filter features", "aria-label": "Filter features" });
  search.addEventListener("input", () => {
    wanted = search.value.toLowerCase();
    show();
  });
  const rows = h("tbody");
  const opening = new OpeningRows(rows, context, HEADS.length, { make: makeRow, update: updateRow, changed: show });
  const more = h("button", { type: "button", class: "quiet" });
  more.addEventListener("click", () => {
    all = true;
    show();
  });
  const head = HEADS.map(([word, style]) => h("th", { scope: "col", class: style }, word));
  const caption = h("caption", { class: "hidden" }, "Features with their verdicts, the most changed first");
  const table = h("table", { class: "data stack features" }, caption, h("thead", {}, h("tr", {}, head)), rows);
  const shown = h("div", { class: "scroll" }, table, more);
  const blank = h("div");
  body.replaceChildren(blank, shown);

  /** The question as the API takes it. */
  function query() {
    const parts = new URLSearchParams();
    if (asked.version) parts.set("version", asked.version);
    if (asked.kind === "drift" && asked.baseline) parts.set("baseline", asked.baseline);
    return parts.size ? `?${parts}` : "";
  }

  function ask(change) {
    Object.assign(asked, change);
    order = [];
    const address = `${context.base}/${asked.kind}${query()}`;
    // The key figures ask the plain question already.
    if (source !== context.sources.drift) source.stop();
    source =
      address === context.sources.drift.address
        ? context.sources.drift
        : new Source(address, { periodMs: 5000 }).subscribe(show);
    offer();
    show();
  }

  function offer() {
    const versions = context.versions.length > 1 ? [["", "all"], ...context.versions.map((one) => [one, one])] : [];
    controls.replaceChildren(
      search,
      versions.length ? select("Version", versions, asked.version, (version) => ask({ version })) : "",
      asked.kind === "drift" ? select("Baseline", BASELINES, asked.baseline, (baseline) => ask({ baseline })) : "",
      choice("Compare", KINDS, asked.kind, (kind) => {
        context.remember("compare", kind);
        ask({ kind });
      }),
      asPython(source.address),
    );
  }

  /** Rows keep their places while someone is reading or has one open; otherwise the most changed come first. */
  function sorted(features) {
    const busy = opening.open.size || table.matches(":hover") || table.contains(document.activeElement);
    if (!busy || !order.length) {
      const worst = (a, b) => (ORDER[a.verdict] ?? 3) - (ORDER[b.verdict] ?? 3) || excess(b) - excess(a);
      order = [...features].sort(worst).map(keyOf);
    }
    const rank = new Map(order.map((key, i) => [key, i]));
    const at = (one) => rank.get(keyOf(one)) ?? order.length;
    return [...features].sort((a, b) => at(a) - at(b));
  }

  function describe(data) {
    const detail = data.baseline_detail ?? {};
    const which = detail.reference
      ? ` of version ${detail.model_version || "(any)"}`
      : detail.start
        ? ` (${span(detail.start, detail.end)})`
        : "";
    const words = [
      `${data.window?.start ? `Served ${span(data.window.start, data.window.end)}` : "Serving now"} against ${CALLED[data.baseline] ?? data.baseline ?? "its baseline"}${which}.`,
      context.lastSeen - instant(data.window?.end) > LATE_MS ? "Newer predictions are still being rolled up." : "",
      data.note ? `${data.note[0].toUpperCase()}${data.note.slice(1)}.` : "",
      typeof data.judged === "number" ? `${count(data.drifted)} of ${count(data.judged)} judged features drifted.` : "",
    ];
    say(note, words.filter(Boolean).join(" "));
  }

  function missing() {
    if (!source.answer) return "Loading…";
    return asked.kind === "skew"
      ? "Not yet: there is no training data to compare with. Add it with upshot reference add."
      : "Not yet: there is nothing to compare this model's serving with.";
  }

  function show() {
    const features = (source.answer?.data?.features ?? []).filter((one) => !ELSEWHERE.includes(one.role));
    shown.hidden = !features.length;
    search.hidden = features.length < FILTER_FROM;
    if (!features.length) {
      blank.replaceChildren(source.answer ? empty(missing()) : h("p", { class: "loading" }, missing()));
      return;
    }
    blank.replaceChildren();
    describe(source.answer.data);
    const matching = sorted(features).filter((one) => one.feature.toLowerCase().includes(wanted));
    const visible = all || wanted ? matching : matching.slice(0, FEW);
    more.hidden = visible.length === matching.length;
    say(more, `Show all ${count(matching.length)} features`);
    opening.show(visible, asked);
  }

  context.sources.drift.subscribe(() => {
    if (source === context.sources.drift) show();
  });
  context.onVersions.add(offer);
  ask({});
}
