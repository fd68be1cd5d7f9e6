// Whether the labels still come: a banner while the feed of a label is silent, one line otherwise.

import { h, say } from "../dom.js";
import { count, duration, utc } from "../format.js";

const UNWATCHED = {
  no_labels: "No label has arrived yet, so nothing is expected of its feed.",
  too_little_history: "A silent feed cannot be told yet: that takes ten days of labels.",
  nothing_due: "A silent feed cannot be told now: too few labels are due.",
  too_few_labels: "A silent feed cannot be told: too few labels arrive, or too unevenly.",
  not_expected: "Its feed is not watched, as configured.",
};

export function feedNote() {
  return h("p", { class: "feed", role: "status", "data-part": "feed" });
}

function silent({ since, opened_by: by, observed, expected }) {
  const who = by === "operator" ? "Declared silent" : "The feed is silent";
  const seen =
    by !== "operator" && expected?.within_s
      ? ` ${count(observed?.arrivals ?? 0)} labels came in the last ${duration(expected.within_s)}; fewer than ${count(Math.ceil(expected.at_least))} are silence.`
      : "";
  return `${who} since ${utc(since)}: windows that close now give no default.${seen}`;
}

function well({ expected, observed }) {
  if (!expected?.within_s) return UNWATCHED[expected?.because] ?? "";
  const usual = typeof expected.usual === "number" ? ` (usually ${count(Math.round(expected.usual))})` : "";
  return `Labels arrive as expected: ${count(observed?.arrivals ?? 0)} in the last ${duration(expected.within_s)}${usual}.`;
}

export function tellFeed(node, feed) {
  node.hidden = !feed;
  if (!feed) return;
  const open = feed.state === "open";
  node.classList.toggle("feed-silent", open);
  node.classList.toggle("sub", !open);
  say(node, open ? silent(feed) : well(feed));
  node.hidden = !node.textContent;
}
