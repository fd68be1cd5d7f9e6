// Row-level skew: the newest comparison of recomputed values with those that were served, feature by feature.

import { empty, follow, h, name, place, say } from "../dom.js";
import { NONE, count, figure, part, plural, share, utc } from "../format.js";
import { Source } from "../live.js";
import { badge, jobStatus } from "../verdict.js";

const HEADS = ["Feature", "Result", "Equal", "Differ", "Missing", "Extra", "Largest difference", "Example"];
const MOST = 30;

function make() {
  return h(
    "tr",
    {},
    HEADS.map((word, i) => h(i ? "td" : "th", { "data-label": word, scope: i ? null : "row" })),
  );
}

function value(one) {
  if (one.value === null || one.value === undefined) return one.kind;
  const text = one.kind === "str" ? JSON.stringify(one.value) : Array.isArray(one.value) ? `[${one.value.join(", ")}]` : String(one.value);
  return text.length > 40 ? `${text.slice(0, 40)}…` : text;
}

function exampleOf(item) {
  for (const outcome of ["mismatch", "kind_mismatch", "missing", "extra"]) {
    const one = item.examples?.[outcome]?.[0];
    if (one) return one;
  }
  return null;
}

function update(node, item) {
  const [first, result, equal, differ, missing, extra, largest, example] = node.cells;
  const said = JSON.stringify(item);
  if (node.dataset.said === said) return;
  node.dataset.said = said;
  first.replaceChildren(name(item.feature));
  const differs = item.differs === null ? ["none", "nothing compared"] : item.differs ? ["bad", "differs"] : ["good", item.different_share ? "as allowed" : "equal"];
  result.replaceChildren(badge(...differs));
  say(equal, item.compared ? share(item.equal / item.compared) : NONE);
  const kinds = item.kind_mismatch ? ` (${count(item.kind_mismatch)} in kind only)` : "";
  say(differ, `${count(item.mismatch + item.kind_mismatch)}${kinds}`);
  say(missing, count(item.missing));
  say(extra, count(item.extra));
  const most = item.differences?.absolute?.max;
  say(largest, most === null || most === undefined ? NONE : figure(most));
  const shown = exampleOf(item);
  if (!shown) say(example, NONE);
  else {
    example.replaceChildren(
      h("a", { href: `/requests/${part(shown.request_id)}` }, name(String(shown.request_id).slice(0, 13))),
      ` served ${value(shown.served)}, recomputed ${value(shown.recomputed)}`,
    );
  }
}

function words(job) {
  const rows = job.result?.rows;
  if (!rows) return job.error ?? "";
  const found = [`${plural(rows.compared, "row")} compared`];
  if (rows.not_served) found.push(`${count(rows.not_served)} not served`);
  if (rows.repeated) found.push(`${count(rows.repeated)} repeated`);
  return found.join(" · ");
}

export function mount(section, context) {
  const body = place(section, "body");
  const rows = h("tbody");
  const caption = h("caption", { class: "hidden" }, "Served and recomputed values, by feature");
  const heads = h(
    "tr",
    {},
    HEADS.map((word) => h("th", { scope: "col" }, word)),
  );
  const status = h("span", {});
  const about = h("span", {});
  const line = h("p", { class: "sub" }, status, " ", about);
  const table = h("div", { class: "scroll" }, h("table", { class: "data stack" }, caption, h("thead", {}, heads), rows));
  const shown = h("div", {}, line, table);
  const list = new Source(`${context.base}/row-skews`, { periodMs: 15000 });
  let one = null;

  list.subscribe(({ data }) => {
    const newest = data?.row_skews?.[0];
    if (!newest) {
      body.replaceChildren(
        empty("Not yet: no recomputed values were compared. ", h("code", {}, "upshot skew rows FILE --model …"), " does."),
      );
      return;
    }
    if (!shown.isConnected) body.replaceChildren(shown);
    if (status.dataset.said !== newest.status) {
      status.dataset.said = newest.status;
      status.replaceChildren(jobStatus(newest.status));
    }
    say(about, [utc(newest.created_at), words(newest)].filter(Boolean).join(" · "));
    table.hidden = newest.status !== "done";
    if (newest.status !== "done") return;
    const address = `/v1/row-skews/${part(newest.id)}`;
    if (one) one.turnTo(address);
    else {
      // A comparison that is done does not change: it is asked for again only for another one.
      one = new Source(address, { periodMs: 300000 });
      one.subscribe(({ data: found }) => {
        follow(rows, (found?.result?.features ?? []).slice(0, MOST), (item) => item.feature, make, update);
      });
    }
  });
}
