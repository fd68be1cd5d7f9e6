// Labels whose prediction is not known (yet).

import { empty, follow, h, name, say, select } from "../dom.js";
import { NONE, count, duration, part, utc } from "../format.js";
import { write } from "../values.js";
import { Pages, unreadable } from "./pages.js";

const AGES = [
  ["", "any age"],
  ["1h", "an hour"],
  ["1d", "a day"],
  ["7d", "a week"],
  ["30d", "30 days"],
];
const BANDS = [
  ["under_1h", "under an hour"],
  ["under_1d", "under a day"],
  ["under_7d", "under a week"],
  ["under_30d", "under 30 days"],
  ["over_30d", "older"],
];
const COLUMNS = ["Request", "Label", "Value", "Source", "Model", "Waiting for", "Received at"];

export function mountOrphans(body, controls) {
  const chosen = { older_than: "", name: "" };
  const ages = h("p", { class: "ages" });
  const rows = h("tbody");
  const table = h(
    "div",
    { class: "scroll" },
    h(
      "table",
      { class: "data stack" },
      h("caption", { class: "hidden" }, "Labels without a prediction, the one that waits longest first"),
      h("thead", {}, h("tr", {}, COLUMNS.map((head) => h("th", { scope: "col" }, head)))),
      rows,
    ),
  );
  let offered = "";

  const address = () => {
    const query = new URLSearchParams(Object.entries(chosen).filter(([, value]) => value));
    return (cursor) => `/v1/orphans?${new URLSearchParams([...query, ["limit", "25"], ...(cursor ? [["cursor", cursor]] : [])])}`;
  };
  const pages = new Pages(address(), "orphans", show);
  const choose = (key) => (value) => {
    chosen[key] = value;
    pages.turnTo(address());
  };

  function offer(names) {
    const all = [...new Set([...(chosen.name ? [chosen.name] : []), ...names])];
    if (JSON.stringify(all) === offered) return;
    offered = JSON.stringify(all);
    controls.replaceChildren(
      select("Label", [["", "all"], ...all.map((one) => [one, one])], chosen.name, choose("name")),
      select("Waiting for over", AGES, chosen.older_than, choose("older_than")),
    );
  }

  function show(orphans, first, code) {
    if (!first) {
      body.replaceChildren(empty(unreadable(code)));
      return;
    }
    if (!chosen.name && !chosen.older_than) offer(first.names.map((one) => one.name));
    if (!first.total) {
      body.replaceChildren(
        empty(chosen.name || chosen.older_than ? "None of these." : "None: every label event has found its prediction."),
      );
      return;
    }
    if (!table.isConnected) body.replaceChildren(ages, table, pages.more);
    follow(
      ages,
      BANDS.filter(([band]) => first.ages[band]),
      ([band]) => band,
      ([, words]) => h("span", {}, h("span", { class: "strong" }), ` ${words}`),
      (node, [band]) => say(node.firstChild, count(first.ages[band])),
    );
    follow(rows, orphans, (one) => JSON.stringify([one.request_id, one.label_id]), make, update);
  }
}

function make(one) {
  const cells = [
    one.request_id ? h("a", { href: `/requests/${part(one.request_id)}` }, name(one.request_id)) : name(entity(one)),
    name(one.name),
    one.op === "retract" ? h("span", { class: "muted" }, "retracted") : h("code", { class: "value", dir: "ltr" }, write(one.value)),
    one.source ? name(one.source) : NONE,
    one.model ? name(one.model) : h("span", { class: "muted" }, "any"),
    "",
    utc(one.received_at),
  ];
  if (one.item_id) cells[0] = h("span", {}, cells[0], h("span", { class: "muted" }, " item "), name(one.item_id));
  return h(
    "tr",
    {},
    cells.map((cell, i) => h(i ? "td" : "th", { scope: i ? null : "row", "data-label": COLUMNS[i], class: i > 4 ? "time" : "" }, cell)),
  );
}

/** A label may name an entity instead of a request. */
function entity(one) {
  const [[type, id] = ["", ""]] = Object.entries(one.entity ?? {});
  return type ? `${type} ${id}` : NONE;
}

function update(node, one) {
  say(node.cells[5], duration(one.age_s));
}
