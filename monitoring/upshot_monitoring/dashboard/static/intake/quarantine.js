// Refused events: the reason, the place, and what was sent, as text.

import { empty, follow, h, name, say, select } from "../dom.js";
import { NONE, count, part, utc } from "../format.js";
import { Pages, unreadable } from "./pages.js";

const COLUMNS = ["Received at", "Reason", "Place", "Model", "Request", "What was sent"];

export function mountQuarantine(body, controls) {
  let chosen = "";
  let offered = "";
  const again = h("button", { type: "button", class: "quiet", hidden: true, onclick: () => replay() }, "Send these again");
  const told = h("span", { class: "sub", role: "status" });
  const rows = h("tbody");
  const table = h(
    "div",
    { class: "scroll" },
    h(
      "table",
      { class: "data stack" },
      h("caption", { class: "hidden" }, "Refused events, the newest first"),
      h("thead", {}, h("tr", {}, COLUMNS.map((head) => h("th", { scope: "col" }, head)))),
      rows,
    ),
  );

  const address = () => {
    const [kind, code] = chosen ? JSON.parse(chosen) : ["", ""];
    const query = new URLSearchParams(Object.entries({ kind, code }).filter(([, value]) => value));
    return (cursor) => `/v1/quarantine?${new URLSearchParams([...query, ["limit", "25"], ...(cursor ? [["cursor", cursor]] : [])])}`;
  };
  const pages = new Pages(address(), "refused", show);

  function offer(codes) {
    const all = codes.map((one) => [JSON.stringify([one.kind, one.code]), `${one.kind}: ${one.code} (${count(one.events)})`]);
    if (JSON.stringify(all) === offered) return;
    offered = JSON.stringify(all);
    controls.replaceChildren(
      select("Reason", [["", "all"], ...all], chosen, (value) => {
        chosen = value;
        say(told, "");
        again.hidden = !chosen;
        pages.turnTo(address());
      }),
      again,
      told,
    );
  }

  /** Send all of the chosen reason through the intake again, page by page; what is taken is listed as taken. */
  async function replay() {
    const [kind, code] = JSON.parse(chosen);
    const sums = { found: 0, replayed: 0 };
    again.disabled = true;
    for (let after; ; ) {
      const response = await fetch("/v1/quarantine/replay", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ kind, code, ...(after ? { after } : {}) }),
      }).catch(() => null);
      const page = response?.ok ? await response.json() : null;
      if (!page) {
        say(told, "They could not be sent again just now.");
        break;
      }
      sums.found += page.found;
      sums.replayed += page.replayed;
      say(told, `${count(sums.replayed)} of ${count(sums.found)} were taken.`);
      after = page.next;
      if (!after) break;
    }
    again.disabled = false;
    pages.turnTo(address());
  }

  function show(refused, first, code) {
    if (!first) {
      body.replaceChildren(empty(unreadable(code)));
      return;
    }
    if (!chosen) offer(first.codes);
    if (!first.total) {
      body.replaceChildren(empty(chosen ? "None of these." : "None: nothing was refused."));
      return;
    }
    if (!table.isConnected) body.replaceChildren(table, pages.more);
    follow(rows, keyed(refused), ([key]) => key, ([, one]) => make(one));
  }
}

/** Entries of one request may be the same in everything but their order. */
function keyed(refused) {
  const seen = new Map();
  return refused.map((one) => {
    const key = JSON.stringify(one);
    seen.set(key, (seen.get(key) ?? 0) + 1);
    return [`${seen.get(key)} ${key}`, one];
  });
}

function make(one) {
  const code = h("span", { class: "strong" }, String(one.code).replaceAll("_", " "));
  const cells = [
    utc(one.received_at, true),
    h("span", {}, code, h("span", { class: "muted" }, " "), name(one.kind, { class: "muted" }), one.replayed ? h("span", { class: "muted" }, ", taken since") : null),
    one.loc ? h("code", {}, one.loc) : NONE,
    one.model ? name(one.model) : NONE,
    one.request_id ? h("a", { href: `/requests/${part(one.request_id)}` }, name(one.request_id)) : NONE,
    payload(one),
  ];
  return h(
    "tr",
    {},
    cells.map((cell, i) => h(i ? "td" : "th", { scope: i ? null : "row", "data-label": COLUMNS[i], class: i ? "" : "time" }, cell)),
  );
}

function payload(one) {
  const cut = one.payload_is_cut ? `, the first ${count(String(one.payload_text).length)} letters` : "";
  return h(
    "details",
    { class: "payload" },
    h("summary", {}, `${count(one.payload_bytes)} bytes${cut}`),
    h("pre", { dir: "ltr", tabindex: "0" }, h("code", {}, String(one.payload_text))),
  );
}
