// What became of a writer's missing numbers, in words.

import { count, plural } from "../format.js";

const DROPPED = {
  full: "queue full",
  spool_full: "spool full",
  too_large: "larger than an event may be",
  too_large_for_server: "too large for the server",
  no_model: "no model named",
  failed: "could not be made an event",
  misconfigured: "configuration refused",
  after_close: "logged after close",
  close: "no time left at close",
  transport_failed: "transport failed",
  sender_failed: "sender failed",
  other: "no reason given",
};
const WAITING = {
  spooled: "in its spool",
  queued: "in its queue",
  in_flight: "on the way",
  recent: "too recent to judge",
};

/** Why events were dropped: a reason of the SDK, or whatever word came. */
export function reason(code) {
  if (Object.hasOwn(DROPPED, code)) return DROPPED[code];
  const status = /^http_(\d{3})$/.exec(code);
  return status ? `the server answered ${status[1]}` : String(code).replaceAll("_", " ");
}

const sum = (counts) => Object.values(counts ?? {}).reduce((total, n) => total + n, 0);
const largestFirst = (counts) => Object.entries(counts ?? {}).sort(([, a], [, b]) => b - a);

/** The four places where a number can be, with how many are there and a word on why. */
export function places(books) {
  const rejected = books.rejected ? `${count(books.rejected)} of them refused, in quarantine` : "none of them refused";
  const dropped = largestFirst(books.explained).map(([code, n]) => `${count(n)} ${code === "rejected" ? "refused" : reason(code)}`);
  const held = largestFirst(books.waiting).map(([where, n]) => `${count(n)} ${WAITING[where] ?? where}`);
  return [
    { key: "arrived", label: "Arrived", n: books.received, more: rejected },
    { key: "dropped", label: "Dropped, with a reason", n: sum(books.explained), more: dropped.join(", ") || "none" },
    { key: "waiting", label: "Still to come", n: sum(books.waiting), more: held.join(", ") || "none" },
    { key: "lost", label: "Lost", n: books.unexplained, more: books.unexplained ? "nobody knows why" : "none" },
  ];
}

/** One line per thing that became of the missing numbers. The last is what a person must see: it comes first. */
export function fates(books) {
  const lost = books.unexplained ? [{ tone: "lost", text: `${count(books.unexplained)} lost without a word` }] : [];
  const dropped = largestFirst(books.explained).map(([code, n]) => ({
    tone: "",
    text: code === "rejected" ? `${count(n)} refused, number not readable` : `${count(n)} dropped: ${reason(code)}`,
  }));
  const held = largestFirst(books.waiting).map(([where, n]) => ({ tone: "muted", text: `${count(n)} ${WAITING[where] ?? where}` }));
  return [...lost, ...dropped, ...held];
}

/** The state of all writers in a sentence. */
export function conclusion(totals) {
  const { lossy = 0, waiting = 0 } = totals.states ?? {};
  if (lossy)
    return `${plural(lossy, "writer")} lost ${plural(totals.unexplained, "event")} without a word: the process was killed, or something on the way swallowed them.`;
  const dropped = sum(totals.explained);
  const rest = dropped ? ` ${plural(dropped, "event")} ${dropped === 1 ? "was" : "were"} dropped by the writers, each with a reason.` : "";
  if (waiting) return `Nothing is lost. ${plural(waiting, "writer")} ${waiting === 1 ? "has" : "have"} events still to come.${rest}`;
  return `Every number that was given to an event is accounted for.${rest}`;
}
