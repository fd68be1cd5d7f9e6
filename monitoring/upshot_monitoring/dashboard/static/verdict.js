// Verdicts and states by word and icon; colour only repeats what they say.

import { h, s } from "./dom.js";

const PATHS = {
  good: "M3 8.5 6.5 12 13 4.5",
  bad: "M8 2.5 14.5 13.5H1.5ZM8 6.5v3M8 11.6v.1",
  none: "M3.5 8h9",
  wait: "M8 4.5V8l2.5 2M8 1.8a6.2 6.2 0 1 0 0 12.4A6.2 6.2 0 0 0 8 1.8Z",
  back: "M5.5 3 2.5 6l3 3M2.8 6H9a4 4 0 0 1 0 8H6",
};

/** A word with its icon; `tone` is good, bad, none, wait or back. */
export function badge(tone, word, title) {
  return h(
    "span",
    { class: `badge ${tone}`, title },
    s(
      "svg",
      { viewBox: "0 0 16 16", width: 13, height: 13, "aria-hidden": "true" },
      s("path", {
        d: PATHS[tone] ?? PATHS.none,
        fill: "none",
        stroke: "currentColor",
        "stroke-width": 1.9,
        "stroke-linecap": "round",
        "stroke-linejoin": "round",
      }),
    ),
    h("span", {}, word),
  );
}

const readable = (text) => String(text).replaceAll("_", " ");

const VERDICTS = { ok: ["good", "ok"], drift: ["bad", "drift"], no_verdict: ["none", "no verdict"] };

/** A verdict with its reason: why there is none, or what was found beside the statistic. */
export function verdict(word, why) {
  const [tone, said] = VERDICTS[word] ?? ["none", readable(word)];
  return h("span", { class: "verdict" }, badge(tone, said), why ? h("span", { class: "why" }, readable(why)) : null);
}

const HEALTH = { ok: ["good", "healthy"], warning: ["bad", "warning"], error: ["bad", "problem"] };

/** A model's health as the API says it: a word, or an object with `status` and perhaps reasons. */
export function health(value) {
  const status = typeof value === "string" ? value : value?.status;
  if (!status) return badge("none", "unknown");
  const [tone, word] = HEALTH[status] ?? ["none", String(status)];
  const said =
    typeof value === "object"
      ? (value.reasons ?? value.messages ?? value.problems ?? value.reason ?? value.message)
      : null;
  const why = (Array.isArray(said) ? said : said ? [said] : []).map((one) =>
    typeof one === "string" ? one : (one.message ?? one.code ?? ""),
  );
  return h(
    "span",
    { class: "verdict" },
    badge(tone, word),
    why.length ? h("span", { class: "why" }, why.join("; ").replaceAll("_", " ")) : null,
  );
}

const STATES = { labelled: "good", defaulted: "good", pending: "wait", retracted: "back", censored: "none" };
export const outcomeState = (word) => badge(STATES[word] ?? "none", word);

const RULES = { ok: "good", pending: "wait", firing: "bad", unknown: "none" };
/** Where an alert rule stands; what fires says how bad that is. */
export const ruleState = (word, severity) =>
  badge(RULES[word] ?? "none", word === "firing" ? `firing, ${severity}` : word === "unknown" ? "cannot be told" : String(word));

/** What fires of a model, in one badge: how many, and since when. Nothing where nothing fires. */
export function firing(alerts, since) {
  if (!Array.isArray(alerts) || !alerts.length) return null;
  const [worst] = alerts;
  const many = alerts.length > 1 ? `${alerts.length} alerts fire` : "alert fires";
  const more = alerts.length > 3 ? "; …" : "";
  const rules = `${alerts.slice(0, 3).map((one) => String(one.rule)).join("; ")}${more}`;
  return h(
    "span",
    { class: "verdict firing" },
    badge("bad", `${many}, ${worst.severity}`),
    h("span", { class: "why" }, h("span", { class: "name", dir: "auto" }, rules), ` since ${since(alerts.map((one) => one.since).sort()[0])}`),
  );
}

const JOBS = { queued: "wait", running: "wait", done: "good", failed: "bad", cancelled: "none" };
/** How far an export or a report is. */
export const jobStatus = (word) => badge(JOBS[word] ?? "none", word);

const WRITERS = { complete: "good", waiting: "wait", lossy: "bad" };
/** Whether all that a writer logged is accounted for. What was dropped for a reason is accounted for, and still not good. */
export const writerState = (word, missing) =>
  word === "complete" && missing
    ? badge("none", "complete, dropped some")
    : badge(WRITERS[word] ?? "none", word);
