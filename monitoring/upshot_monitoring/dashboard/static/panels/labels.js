// Labels: how the outcomes of each label stand, and how long labels take to arrive.

import { empty, follow, h, name, place, say } from "../dom.js";
import { count, share } from "../format.js";
import { makeAdvice, makeArrival, updateAdvice, updateArrival } from "./arrival.js";
import { feedNote, tellFeed } from "./feed.js";

const STATES = [
  ["labelled", "a label has arrived"],
  ["defaulted", "window closed, the default applies"],
  ["pending", "still waited for"],
  ["retracted", "taken back"],
  ["censored", "cannot be known"],
];
function make(label) {
  const node = h(
    "section",
    { class: "label-block", "aria-label": `Label ${label.name}` },
    h(
      "div",
      {},
      h("h3", {}, name(label.name), " ", h("span", { class: "muted", "data-part": "coverage" })),
      h(
        "div",
        { class: "states-bar", "aria-hidden": "true" },
        STATES.map(([state]) => h("div", { class: `state-${state}` })),
      ),
      h(
        "dl",
        { class: "states" },
        STATES.map(([state, meaning]) =>
          h(
            "div",
            {},
            h(
              "dt",
              {},
              h("span", { class: `swatch state-${state}`, "aria-hidden": "true" }),
              state,
              h("span", { class: "why" }, ` ${meaning}`),
            ),
            h("dd", {}, h("span", { class: "strong" }), h("span", { class: "muted" })),
          ),
        ),
      ),
      h("p", { class: "sub" }, h("span", { "data-part": "orphans" }), " ", h("a", { href: "/intake", "data-part": "to-orphans" }, "See them")),
      feedNote(),
    ),
    makeArrival(),
    makeAdvice(),
  );
  return node;
}

function update(node, label) {
  say(place(node, "coverage"), `coverage ${share(label.coverage)}`);
  const total = STATES.reduce((sum, [state]) => sum + (label[state] ?? 0), 0) || label.predictions;
  STATES.forEach(([state], i) => {
    const of = typeof label[state] === "number" && total ? label[state] / total : undefined;
    node.querySelector(".states-bar").children[i].style.flexGrow = String(of ?? 0);
    const [, numbers] = node.querySelector(".states").children[i].children;
    say(numbers.children[0], count(label[state]));
    say(numbers.children[1], share(of));
  });
  const orphans = label.orphans;
  place(node, "to-orphans").hidden = !orphans;
  say(
    place(node, "orphans"),
    orphans
      ? `${count(orphans)} label events are orphans: their prediction is not known (yet). They join at once when it arrives.`
      : orphans === 0
        ? "No orphans: every label event has found its prediction."
        : "",
  );
  updateArrival(place(node, "delay"), label);
  updateAdvice(place(node, "advice"), label);
  tellFeed(place(node, "feed"), label.feed);
}

export function mount(section, context) {
  const body = place(section, "body");
  const list = h("div", { class: "label-list" });
  context.sources.labels.subscribe(({ data }) => {
    const labels = data?.labels ?? [];
    if (!labels.length) {
      body.replaceChildren(
        empty(
          "Not yet: no label has arrived for this model. Labels are sent to ",
          h("code", {}, "POST /v1/labels"),
          " whenever the outcome is known.",
        ),
      );
      return;
    }
    if (!list.isConnected) body.replaceChildren(list);
    follow(list, labels, (label) => label.name, make, update);
  });
}
