// The writers: which of the events that were logged have arrived, and what became of the others.

import { choice, follow, h, say } from "./dom.js";
import { count, share } from "./format.js";
import { clock, status } from "./frame.js";
import { Source } from "./live.js";
import { COLUMNS, Detail, makeRow, updateRow } from "./writers/row.js";
import { conclusion, places } from "./writers/words.js";

const byId = (id) => document.getElementById(id);
const STATES = [
  ["", "All"],
  ["lossy", "Lossy"],
  ["waiting", "Waiting"],
  ["complete", "Complete"],
];
const open = new Map();
let chosen = "";
let answer = null;

const source = new Source("/v1/writers");

function choose(state) {
  chosen = state;
  source.turnTo(state ? `/v1/writers?state=${state}` : "/v1/writers");
}

function toggle(id) {
  if (open.has(id)) {
    open.get(id).stop();
    open.delete(id);
  } else open.set(id, new Detail(id));
  rows();
}

function figures(totals) {
  follow(
    byId("writers-figures"),
    [{ key: "given", label: "Events numbered", n: totals.next_seq, more: `by ${count(totals.writers)} writers` }, ...places(totals)],
    ({ key }) => key,
    () => h("div", { class: "figure" }, h("p", { class: "figure-label" }), h("p", { class: "figure-value" }), h("p", { class: "figure-more" })),
    (node, { key, label, n, more }) => {
      say(node.children[0], label);
      say(node.children[1], count(n));
      say(node.children[2], key === "arrived" && totals.next_seq ? `${share(n / totals.next_seq)}, ${more}` : more);
      node.dataset.tone = key === "lost" && n ? "bad" : "";
    },
  );
  follow(
    byId("writers-balance"),
    places(totals).filter(({ n }) => n),
    ({ key }) => key,
    ({ key }) => h("div", { class: `balance-${key}` }),
    (node, { n }) => {
      node.style.flexGrow = String(n);
    },
  );
}

function rows() {
  const writers = answer?.writers ?? [];
  const listed = new Set(writers.map((one) => one.writer_id));
  for (const [id, detail] of open) {
    if (listed.has(id)) continue;
    detail.stop();
    open.delete(id);
  }
  follow(
    byId("writers-rows"),
    writers.length
      ? writers.flatMap((one) => (open.has(one.writer_id) ? [{ one }, { one, detail: true }] : [{ one }]))
      : [{ none: true }],
    ({ one, detail, none }) => (none ? "none" : `${detail ? "detail" : "row"} ${one.writer_id}`),
    ({ one, detail, none }) => {
      if (none) return h("tr", {}, h("td", { colspan: COLUMNS.length, class: "muted" }, "No writer is in this state."));
      return detail
        ? h("tr", { class: "detail" }, h("td", { colspan: COLUMNS.length }, open.get(one.writer_id).node))
        : makeRow(one, () => toggle(one.writer_id));
    },
    (node, { one, detail, none }) => (none || detail ? null : updateRow(node, one, open.has(one.writer_id), clock.now)),
  );
}

function show({ status: code, data }) {
  const loading = byId("writers-loading");
  loading.hidden = Boolean(data);
  if (!data) {
    say(loading, code === 0 ? "The server does not answer; trying again." : "The writers cannot be read just now.");
    return;
  }
  answer = data;
  const { totals } = data;
  for (const id of ["writers", "writers-states", "writers-conclusion", "writers-figures", "writers-balance"])
    byId(id).hidden = !totals.writers;
  byId("writers-none").hidden = Boolean(totals.writers);
  if (!totals.writers) return;
  say(byId("writers-conclusion"), conclusion(totals));
  byId("writers-conclusion").classList.toggle("bad", totals.states.lossy > 0);
  figures(totals);
  rows();
  const all = chosen ? totals.states[chosen] : totals.writers;
  byId("writers-more").hidden = data.writers.length >= all;
  say(byId("writers-more"), `The ${count(data.writers.length)} heard of last, of ${count(all)}.`);
}

byId("writers-states").append(choice("State", STATES, chosen, choose));
source.subscribe(show);
status.subscribe(() => answer && rows());
