// What happened to a request, in the order in which it happened in the world.

import { h, name } from "../dom.js";
import { clock } from "../frame.js";
import { duration, instant, utc } from "../format.js";
import { show } from "../values.js";
import { who } from "./parts.js";

function moments(story) {
  const list = [];
  for (const one of story.predictions ?? [])
    list.push({
      at: one.predicted_at,
      kind: "prediction",
      words: [h("span", { class: "strong" }, "Predicted "), show(one.prediction, true), " by ", name(who(one))],
      known: one.received_at,
    });
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
        one.source ? h("span", { class: "muted" }, " from ", name(one.source)) : null,
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
