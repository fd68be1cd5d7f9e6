// One request's story: what was served, each thing said about it since, and how its outcomes stand.

import { empty, h, name } from "./dom.js";
import { parseExactly } from "./exact.js";
import { clock } from "./frame.js";
import { NONE, duration, instant, part, plural, utc } from "./format.js";
import { Source } from "./live.js";
import { tell } from "./story.js";
import { ABSENT, show, typeOf } from "./values.js";
import { outcomeState } from "./verdict.js";

const root = document.getElementById("story");
const requestId = document.getElementById("main").dataset.request;
document.getElementById("find").value = requestId;

const section = (id, title, ...inside) => h("section", { class: "card panel wide", id, "aria-labelledby": `${id}-title` },
  h("div", { class: "panel-head" }, h("h2", { id: `${id}-title` }, title)), h("div", { class: "panel-body" }, ...inside));

const who = (one) => `${one.model} ${one.model_version}${one.item_id ? ` · ${one.item_id}` : ""}`;

function table(caption, heads, rows, style = "") {
  return h("div", { class: "scroll" }, h("table", { class: `data stack ${style}` }, h("caption", { class: "hidden" }, caption),
    h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)))),
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell, i) => h(i ? "td" : "th", { scope: i ? null : "row", "data-label": typeof heads[i] === "string" ? heads[i] : heads[i].textContent }, cell)))))));
}

function prediction(one) {
  const extras = [];
  const add = (title, value) => { if (value !== undefined && value !== null && !(typeof value === "object" && !Array.isArray(value) && Object.keys(value).length === 0 && value.constructor === Object) && value !== "") extras.push([title, value]); };
  add("Action", one.action); add("Propensity", one.propensity); add("Shown", one.shown); add("Kept with probability", one.keep_probability);
  const pairs = (title, mapping) => { for (const [key, value] of Object.entries(mapping ?? {})) extras.push([h("span", {}, `${title} `, name(key)), value]); };
  pairs("Probability of", one.probabilities); pairs("Entity", one.entities); pairs("Tag", one.tags);
  return h("article", { class: "served" },
    h("h3", {}, h("a", { href: `/models/${part(one.model)}` }, name(one.model)), " ", h("span", { class: "muted" }, "version "), name(one.model_version),
      one.item_id ? h("span", {}, h("span", { class: "muted" }, " item "), name(one.item_id)) : null),
    h("p", { class: "answer" }, show(one.prediction, true)),
    h("dl", { class: "pairs" }, [["Predicted", utc(one.predicted_at, true)], ["Received", utc(one.received_at, true)]].map(([key, value]) => h("div", {}, h("dt", {}, key), h("dd", {}, value))),
      extras.map(([key, value]) => h("div", {}, h("dt", {}, key), h("dd", {}, show(value))))));
}

function moments(story) {
  const list = [];
  for (const one of story.predictions ?? []) list.push({ at: one.predicted_at, kind: "prediction", words: [h("span", { class: "strong" }, "Predicted "), show(one.prediction, true), " by ", name(who(one))], known: one.received_at });
  for (const one of story.label_events ?? []) {
    const verb = one.op === "retract" ? "Label retracted: " : "Label set: ";
    list.push({ at: one.observed_at ?? one.received_at, kind: one.op === "retract" ? "retract" : "label", known: one.received_at,
      words: [h("span", { class: "strong" }, verb), name(one.name), one.op === "retract" ? null : " = ", one.op === "retract" ? null : show(one.value, true), one.source ? h("span", { class: "muted" }, " from ", name(one.source)) : null] });
  }
  const closes = new Map();
  for (const one of story.outcomes ?? []) if (one.matures_at) closes.set(`${one.name} ${one.matures_at}`, one);
  for (const one of closes.values()) {
    const ahead = instant(one.matures_at) > clock.now;
    list.push({ at: one.matures_at, kind: ahead ? "ahead" : "matured", words: [h("span", { class: "strong" }, ahead ? "Window will close: " : "Window closed: "), name(one.name), ahead ? " becomes final" : " is final"] });
  }
  return list.sort((a, b) => instant(a.at) - instant(b.at));
}

function timeline(story) {
  const start = instant(story.predictions?.[0]?.predicted_at);
  return h("ol", { class: "timeline" }, moments(story).map((one) => {
    const offset = (instant(one.at) - start) / 1000;
    const late = (instant(one.known) - instant(one.at)) / 1000;
    return h("li", { class: one.kind }, h("span", { class: "moment-time" }, utc(one.at, true), Number.isNaN(offset) || Math.abs(offset) < 0.001 ? null : h("span", { class: "muted" }, `${offset > 0 ? "+" : ""}${duration(offset)}`)),
      h("span", { class: "moment-words" }, ...one.words, late >= 1 ? h("span", { class: "why" }, ` received ${duration(late)} later`) : null));
  }));
}

/** Rows: every feature of any prediction of this request. Columns: the predictions. What one lacks is "absent" there. */
function features(predictions) {
  const names = [...new Set(predictions.flatMap((one) => Object.keys(one.features ?? {})))];
  if (!names.length) return empty("No features were logged with this request.");
  const cells = (feature) => predictions.flatMap((one) => {
    const value = Object.hasOwn(one.features ?? {}, feature) ? one.features[feature] : ABSENT;
    const odd = (one.non_finite ?? []).includes(feature);
    const time = one.feature_times?.[feature];
    return [show(value, odd), h("span", { class: "muted", title: time ? `computed ${utc(time, true)}` : null }, typeOf(value, odd))];
  });
  const heads = predictions.length === 1 ? ["Value", "Type"] : predictions.flatMap((one) => [h("span", {}, name(who(one))), "Type"]);
  return table("Features as they were served", ["Feature", ...heads], names.map((feature) => [name(feature), ...cells(feature)]), "values");
}

function render(story, text) {
  const predictions = story.predictions ?? [];
  const outcomes = story.outcomes ?? [];
  const events = [...(story.label_events ?? [])].sort((a, b) => (instant(a.received_at) || 0) - (instant(b.received_at) || 0));
  const start = new Map(predictions.map((one) => [JSON.stringify([one.model, one.model_version, one.item_id ?? ""]), one.predicted_at]));
  const parts = [
    h("p", { class: "lead" }, `${plural(predictions.length, "prediction")}, ${plural(events.length, "label event")}.`),
    h("ul", { class: "tale" }, outcomes.map((one) => h("li", {}, h("span", { class: "tale-head" }, outcomeState(one.state), " ", name(one.name), h("span", { class: "muted" }, " of ", name(who(one)))),
      h("span", {}, tell(one, events, start.get(JSON.stringify([one.model, one.model_version, one.item_id ?? ""])), clock.now))))),
    !predictions.length ? empty("Labels have arrived for this request, but its prediction is not known (yet): they are orphans and join at once when it arrives.") : null,
  ];
  root.replaceChildren(
    h("div", { class: "card lead-card" }, parts),
    section("served", "As served", h("div", { class: "served-list" }, predictions.map(prediction))),
    section("timeline", "Timeline", timeline(story)),
    section("features", "Features", features(predictions)),
    section("events", "Label events", events.length ? table("Label events", ["Label", "Operation", "Value", "Observed at", "Received at", "Source", "Item", "Label ID"], events.map((one) => [
      name(one.name), one.op ?? NONE, one.op === "retract" ? NONE : show(one.value, true), utc(one.observed_at, true), utc(one.received_at, true), one.source ? name(one.source) : NONE, one.item_id ? name(one.item_id) : NONE, h("code", { class: "value" }, String(one.label_id ?? NONE))])) : empty("None yet.")),
    section("outcomes", "Outcomes", outcomes.length ? table("Outcomes", ["Label", "Of", "State", "Value", "Observed at", "Received at", "Matures at"], outcomes.map((one) => [
      name(one.name), name(who(one)), outcomeState(one.state), one.value === null || one.value === undefined ? NONE : show(one.value, true), utc(one.observed_at, true), utc(one.received_at, true), utc(one.matures_at, true)])) : empty("None yet.")),
    h("details", { class: "raw card" }, h("summary", {}, "The answer of the API, as it is"), h("pre", {}, h("code", {}, text))),
  );
  root.setAttribute("aria-busy", "false");
}

if (requestId) {
  const address = `/v1/predictions/${part(requestId)}`;
  const opened = () => [...root.querySelectorAll("details[open]")].length;
  new Source(address, { parse: parseExactly }).subscribe(({ status, data, text }) => {
    root.setAttribute("aria-busy", "false");
    if (status === 404 || status === 405) {
      root.replaceChildren(h("div", { class: "card" }, empty("No prediction and no label with this request ID has arrived. IDs are compared letter by letter. If one arrives, it appears here by itself.")));
    } else if (!data) root.replaceChildren(h("div", { class: "card" }, empty(status === 0 ? "The server does not answer; trying again." : "This story cannot be read just now.")));
    else if (!opened() || !root.dataset.drawn) {
      root.dataset.drawn = "yes";
      render(data, text);
    }
  });
}

