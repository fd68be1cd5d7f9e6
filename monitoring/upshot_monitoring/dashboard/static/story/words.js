// A request's story in words: what was predicted, what was said about it since, and what holds now.

import { instant, inWords, utc } from "../format.js";
import { write } from "../values.js";

const after = (time, start) => {
  const seconds = (instant(time) - instant(start)) / 1000;
  if (Number.isNaN(seconds)) return "at an unknown time";
  if (Math.abs(seconds) < 1) return "at the moment of the prediction";
  return `${inWords(seconds)} ${seconds < 0 ? "before" : "after"} the prediction`;
};

/** Whether a label event speaks of this outcome. An event without a model speaks of all of them. */
export function concerns(event, outcome) {
  return (
    event.name === outcome.name &&
    (event.item_id ?? "") === (outcome.item_id ?? "") &&
    (!event.model || event.model === outcome.model)
  );
}

/** Events of one outcome in the order in which they became known. */
export function history(outcome, events) {
  return events
    .filter((event) => concerns(event, outcome))
    .sort((a, b) => (instant(a.received_at) || 0) - (instant(b.received_at) || 0));
}

/** What became of an event in the outcomes that it concerns: "decides", or the reason why it does not count. */
export function fates(event, outcomes) {
  const found = new Set();
  for (const outcome of outcomes) {
    if (!outcome.because || !concerns(event, outcome)) continue;
    const over = outcome.because.overridden?.find((one) => one.label_id === event.label_id);
    if (over) found.add(over.reason);
    else if (outcome.because.decided_by?.includes(event.label_id)) found.add("decides");
  }
  return [...found];
}

const NOT_COUNTED = { outranked: "a more trusted source has spoken", late: "it came after the window" };
const REASONS = {
  late: "no: after the window",
  outranked: "no: a more trusted source has spoken",
  retracted: "no: taken back",
  no_number: "no: not a number",
  superseded: "no: another one counts",
};
/** A reason of the API in words. */
export const reason = (code) => (Object.hasOwn(REASONS, code) ? REASONS[code] : String(code).replaceAll("_", " "));

/** A sentence per event, then how the outcome stands. `now` is the server's clock in ms (NaN if not known). */
export function tell(outcome, events, predictedAt, now) {
  const sentences = [];
  let [current, before] = [undefined, null];
  for (const event of history(outcome, events)) {
    const time = event.observed_at ?? event.received_at;
    const later = before === null ? NaN : (instant(time) - instant(before)) / 1000;
    const when = later >= 1 ? `${inWords(later)} later` : after(time, predictedAt);
    const who = event.source ? ` by ${event.source}` : "";
    const value = event.op === "retract" ? undefined : write(event.value);
    const over = outcome.because?.overridden?.find((one) => one.label_id === event.label_id)?.reason;
    if (over === "outranked" || over === "late") {
      const said = event.op === "retract" ? "A retraction" : value;
      sentences.push(`${said}${who} ${when} does not count: ${NOT_COUNTED[over]}`);
      continue;
    }
    if (event.op === "retract") sentences.push(`Retracted${who} ${when}`);
    else if (current === undefined) sentences.push(`Labelled ${value}${who} ${when}`);
    else sentences.push(`${value === current ? "Said again:" : "Corrected to"} ${value}${who} ${when}`);
    [current, before] = [value, time];
  }
  sentences.push(standing(outcome, now));
  return `${sentences.join(". ")}.`;
}

function standing(outcome, now) {
  const matures = instant(outcome.matures_at);
  const final = !Number.isNaN(now) && !Number.isNaN(matures) && now >= matures;
  const until = Number.isNaN(matures) ? "" : final ? `, final since ${utc(matures)}` : `, final on ${utc(matures)}`;
  const value = outcome.value === undefined || outcome.value === null ? "" : ` ${write(outcome.value)}`;
  switch (outcome.state) {
    case "pending":
      return `No outcome yet${Number.isNaN(matures) ? "" : `; waited for until ${utc(matures)}`}`;
    case "labelled":
      return `It now counts as${value}${until}`;
    case "defaulted":
      return `The window closed without a label, so it counts as${value}${until}`;
    case "retracted":
      return `It now has no value${until}`;
    case "censored":
      return "The window closed while the label feed was known to be down, so the outcome cannot be known";
    default:
      return `State ${outcome.state}`;
  }
}
