// The label funnel: of all that was logged, what was shown, labelled, matured and exported.

import { empty, follow, h, place, say, select } from "../dom.js";
import { count, share } from "../format.js";
import { Source } from "../live.js";

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
  let version = "";
  let narrowed = null;

  /** The funnel of one version and of the chosen range; of everything, it is in the answer that the page has anyway. */
  function narrow() {
    const start = context.rangeStart();
    if (!version && start === -Infinity) {
      narrowed?.stop();
      narrowed = null;
      show(context.sources.labels.answer ?? {});
      return;
    }
    const query = new URLSearchParams();
    if (version) query.set("version", version);
    if (start !== -Infinity) query.set("start", new Date(start).toISOString());
    const address = `${context.base}/labels?${query}`;
    if (narrowed) narrowed.turnTo(address);
    else narrowed = new Source(address).subscribe(show);
  }

  function offer() {
    if (version && !context.versions.includes(version)) version = "";
    const versions = context.versions.map((one) => [one, one]);
    place(section, "controls").replaceChildren(
      ...(versions.length > 1
        ? [
            select("Version", [["", "all"], ...versions], version, (value) => {
              version = value;
              narrow();
            }),
          ]
        : []),
    );
    narrow();
  }

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

  context.onVersions.add(offer);
  context.onRange.add(narrow);
  context.sources.labels.subscribe((answer) => (narrowed ? null : show(answer)));

  function show({ data }) {
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
  }
}
