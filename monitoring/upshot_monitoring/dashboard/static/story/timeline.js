// What happened to a request, in the order in which it happened in the world.

import { h, name } from "../dom.js";
import { clock } from "../frame.js";
import { count, duration, instant, utc } from "../format.js";
import { show } from "../values.js";
import { who } from "./parts.js";

/** So many items of a slate are told one by one. */
const MOST_APART = 4;

/** Predictions that one model made of one slate. */
function together(predictions) {
  const slates = new Map();
  for (const one of predictions) {
    const key = JSON.stringify([one.model, one.model_version, one.predicted_at]);
    slates.set(key, [...(slates.get(key) ?? []), one]);
  }
  return [...slates.values()];
}

/** A label that came before its prediction waited for it, and perhaps still does. */
function early(event, story) {
  if (event.waiting) return h("span", { class: "why" }, " waits for its prediction");
  const ours = (story.predictions ?? []).filter(
    (one) => (event.item_id ?? "") === (one.item_id ?? "") && (!event.model || event.model === one.model),
  );
  const waited = Math.min(...ours.map((one) => instant(one.received_at) - instant(event.received_at))) / 1000;
  return waited > 0 && Number.isFinite(waited)
    ? h("span", { class: "why" }, ` was known first and waited ${duration(waited)} for its prediction`)
    : null;
}

function moments(story) {
  const list = [];
  for (const group of together(story.predictions ?? [])) {
    const [one] = group;
    const words =
      group.length > MOST_APART
        ? [h("span", { class: "strong" }, `Predicted ${count(group.length)} items`), " by ", name(`${one.model} ${one.model_version}`)]
        : null;
    for (const each of words ? [one] : group)
      list.push({
        at: each.predicted_at,
        kind: "prediction",
        words: words ?? [h("span", { class: "strong" }, "Predicted "), show(each.prediction, true), " by ", name(who(each))],
        known: each.received_at,
      });
  }
  for (const one of story.label_events ?? []) {
    const verb = one.op === "retract" ? "Label retracted: " : "Label set: ";
    list.push({
      at: one.observed_at ?? one.received_at,
      kind: one.op === "retract" ? "retract" : "label",
      known: one.received_at,
      words: [
        h("span", { class: "strong" }, verb),
        name(one.name),
        one.op === "retract" ? null : " = ",
        one.op === "retract" ? null : show(one.value, true),
        one.item_id ? h("span", { class: "muted" }, " for ", name(one.item_id)) : null,
        one.source ? h("span", { class: "muted" }, " from ", name(one.source)) : null,
        early(one, story),
      ],
    });
  }
  const closes = new Map();
  for (const one of story.outcomes ?? []) if (one.matures_at) closes.set(`${one.name} ${one.matures_at}`, one);
  for (const one of closes.values()) {
    const ahead = instant(one.matures_at) > clock.now;
    list.push({
      at: one.matures_at,
      kind: ahead ? "ahead" : "matured",
      words: [
        h("span", { class: "strong" }, ahead ? "Window will close: " : "Window closed: "),
        name(one.name),
        ahead ? " becomes final" : " is final",
      ],
    });
  }
  return list.sort((a, b) => instant(a.at) - instant(b.at));
}

/** Predictions, label events and the closing of windows, with their distance from the prediction. */
export function timeline(story) {
  const start = instant(story.predictions?.[0]?.predicted_at);
  return h(
    "ol",
    { class: "timeline" },
    moments(story).map((one) => {
      const offset = (instant(one.at) - start) / 1000;
      const late = (instant(one.known) - instant(one.at)) / 1000;
      return h(
        "li",
        { class: one.kind },
        h(
          "span",
          { class: "moment-time" },
          utc(one.at, true),
          Number.isNaN(offset) || Math.abs(offset) < 0.001
            ? null
            : h("span", { class: "muted" }, `${offset > 0 ? "+" : ""}${duration(offset)}`),
        ),
        h(
          "span",
          { class: "moment-words" },
          ...one.words,
          late >= 1 ? h("span", { class: "why" }, ` received ${duration(late)} later`) : null,
        ),
      );
    }),
  );
}
