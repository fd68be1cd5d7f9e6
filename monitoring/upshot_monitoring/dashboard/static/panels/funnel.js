// The label funnel: of all that was logged, what was shown, labelled, matured and exported.

import { empty, follow, h, place, say } from "../dom.js";
import { count, share } from "../format.js";

const STEPS = [
  ["logged", "Logged", "predictions received"],
  ["shown", "Shown", "not held back, or shown since"],
  ["labelled", "Labelled", "an outcome has arrived"],
  ["matured", "Matured", "the outcome is final"],
  ["exported", "Exported", "part of a training set"],
];

export function mount(section, context) {
  const body = place(section, "body");
  const list = h("ol", { class: "funnel" });

  const make = ([, title, meaning]) =>
    h(
      "li",
      {},
      h(
        "div",
        { class: "funnel-words" },
        h("span", { class: "strong" }, title),
        h("span", { class: "muted" }, meaning),
      ),
      h("div", { class: "funnel-numbers" }, h("span", { class: "strong" }), h("span", { class: "muted" })),
      h("div", { class: "bar", "aria-hidden": "true" }, h("div", { class: "bar-fill" })),
    );

  context.sources.labels.subscribe(({ data }) => {
    const steps = data?.funnel;
    if (!steps || !steps.logged) {
      body.replaceChildren(empty("Not yet: no prediction has arrived."));
      return;
    }
    if (!list.isConnected) body.replaceChildren(list);
    follow(
      list,
      STEPS,
      ([key]) => key,
      make,
      (node, [key]) => {
        const of = typeof steps[key] === "number" ? steps[key] / steps.logged : undefined;
        say(node.children[1].children[0], count(steps[key]));
        say(node.children[1].children[1], share(of));
        node.querySelector(".bar-fill").style.width = `${Math.min(100, (of ?? 0) * 100)}%`;
      },
    );
  });
}
