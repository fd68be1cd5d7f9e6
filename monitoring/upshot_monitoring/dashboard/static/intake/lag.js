// How far each step is behind, as the server measures it.

import { follow, h, say } from "../dom.js";
import { NONE, count, duration, plural } from "../format.js";
import { status } from "../frame.js";

function figures(lag) {
  const { intake = {}, join = {}, roll_ups: rolls = {} } = lag;
  const over = duration(join.over_s);
  const hours = (rolls.profiles ?? 0) + (rolls.labels ?? 0);
  return [
    { key: "p50", label: "Joined after, median", value: duration(join.p50_s), more: join.joined ? `${plural(join.joined, "request")} in ${over}` : `none in the last ${over}` },
    { key: "p99", label: "Joined after, 99 of 100", value: duration(join.p99_s), more: "from stored to joined", bad: join.p99_s > 2 },
    {
      key: "join",
      label: "Waiting to be joined",
      value: count(join.waiting),
      more: join.waiting ? `the oldest for ${duration(join.oldest_waiting_s)}` : "nothing waits",
      bad: join.oldest_waiting_s > 10,
    },
    { key: "intake", label: "Waiting to be stored", value: count(intake.waiting), more: intake.waiting ? "events" : "nothing waits" },
    { key: "rolls", label: "Hours to roll up", value: count(hours), more: hours ? "newest first" : "up to date" },
  ];
}

export function mountLag(section) {
  status.subscribe(({ data }) => {
    follow(
      section,
      figures(data?.lag ?? {}),
      ({ key }) => key,
      () => h("div", { class: "figure" }, h("p", { class: "figure-label" }), h("p", { class: "figure-value" }), h("p", { class: "figure-more" })),
      (node, one) => {
        say(node.children[0], one.label);
        say(node.children[1], data?.lag ? one.value : NONE);
        say(node.children[2], data?.lag ? one.more : "\u00a0");
        node.dataset.tone = one.bad ? "bad" : "";
      },
    );
  });
}
