// Alert rules of a model: what fires and since when, on what that rests, and whether it got out.

import { empty, follow, h, name, place, say } from "../dom.js";
import { NONE, ago, count, utc } from "../format.js";
import { clock, status as server } from "../frame.js";
import { Source } from "../live.js";
import { ruleState } from "../verdict.js";

const HEADS = ["Rule", "State", "Since", "Found", "Told"];
const ORDER = { firing: 0, unknown: 1, pending: 2, ok: 3 };
const SEVERITIES = { critical: 0, warning: 1, info: 2 };
const TOLD = {
  waiting: "waiting",
  sent: "sent",
  refused: "refused",
  given_up: "given up",
  dropped: "dropped",
};

function number(value) {
  if (typeof value !== "number") return value === null || value === undefined ? NONE : String(value);
  return Number.isInteger(value) ? count(value) : String(Number(value.toPrecision(4)));
}

function make() {
  return h(
    "tr",
    {},
    HEADS.map((word, i) => h(i ? "td" : "th", { "data-label": word, scope: i ? null : "row" })),
  );
}

function found(rule) {
  if (rule.reason && rule.state !== "firing") return rule.reason;
  const parts = (rule.comparisons ?? []).map((one) => {
    const rows = typeof one.rows === "number" ? `, ${count(one.rows)} rows` : "";
    return one.value === null ? `${one.name} is not known` : `${one.name} is ${number(one.value)}${rows}`;
  });
  const drifted = rule.columns?.length ? `; drifted: ${rule.columns.slice(0, 5).join(", ")}` : "";
  const why = rule.reason ? `; now not known: ${rule.reason}` : "";
  return `${parts.join("; ")}${drifted}${why}` || NONE;
}

function told(rule) {
  if (rule.muted_until) return `muted until ${utc(rule.muted_until)}`;
  const [last] = rule.deliveries ?? [];
  if (!last) return rule.to?.length ? `nothing yet; goes to ${rule.to.join(", ")}` : "to nobody";
  const error = last.error ? ` (${last.error.replaceAll("_", " ")})` : "";
  return `${last.kind.replaceAll("_", " ")}: ${TOLD[last.status] ?? last.status} ${last.channel}${error}`;
}

function update(node, rule) {
  const [first, state, since, value, out] = node.cells;
  const said = JSON.stringify([rule.rule, rule.when, rule.state, rule.severity]);
  if (node.dataset.said !== said) {
    node.dataset.said = said;
    const when = rule.rule === rule.when ? [] : [h("div", { class: "why" }, name(rule.when))];
    first.replaceChildren(name(rule.rule), ...when);
    state.replaceChildren(ruleState(rule.state, rule.severity));
  }
  say(since, `${utc(rule.since)}${ago(rule.since, clock.now)}`);
  say(value, found(rule));
  say(out, told(rule));
}

export function mount(section, context) {
  const body = place(section, "body");
  const link = document.querySelector('.sections a[href="#alerts"]');
  const rows = h("tbody");
  const head = h(
    "tr",
    {},
    HEADS.map((word) => h("th", { scope: "col" }, word)),
  );
  const caption = h("caption", { class: "hidden" }, "Alert rules, those that fire first");
  const table = h(
    "div",
    { class: "scroll" },
    h("table", { class: "data stack alerts" }, caption, h("thead", {}, head), rows),
  );
  let shown = [];
  const draw = () => follow(rows, shown, (one) => one.rule, make, update);
  server.subscribe(draw); // how long ago it was changes with the clock, when nothing else does
  new Source(`${context.base}/alerts`, { periodMs: 5000 }).subscribe(({ status, data }) => {
    const rules = [...(data?.rules ?? [])];
    // Nothing in the way of those who have no rules; a server that cannot say is not taken for one.
    section.hidden = link.hidden = status === 404 || (Boolean(data) && !rules.length);
    if (!rules.length) {
      body.replaceChildren(empty(data ? "No rule is configured." : "The rules cannot be read just now."));
      return;
    }
    rules.sort(
      (a, b) =>
        (ORDER[a.state] ?? 4) - (ORDER[b.state] ?? 4) ||
        (SEVERITIES[a.severity] ?? 3) - (SEVERITIES[b.severity] ?? 3) ||
        a.rule.localeCompare(b.rule),
    );
    if (!table.isConnected) body.replaceChildren(table);
    shown = rules;
    draw();
  });
}
