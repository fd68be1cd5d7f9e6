// The row of one writer, and what opens below it: its gaps, its own counters, where it ran.

import { empty, follow, h, name, say } from "../dom.js";
import { NONE, ago, count, part, plural, utc } from "../format.js";
import { Source } from "../live.js";
import { writerState } from "../verdict.js";
import { fates } from "./words.js";

export const COLUMNS = ["Writer", "State", "Events", "Missing", "What became of the missing", "Last heard of"];

export function makeRow(writer, toggle) {
  const button = h(
    "button",
    { type: "button", class: "open", "aria-expanded": "false", onclick: toggle },
    h("span", { class: "caret", "aria-hidden": "true" }),
    name(writer.writer_id),
  );
  return h(
    "tr",
    { class: "writer" },
    h("th", { scope: "row", "data-label": COLUMNS[0] }, button, h("div", { class: "where" })),
    COLUMNS.slice(1).map((label) => h("td", { "data-label": label, class: ["Events", "Missing"].includes(label) ? "num" : "" })),
  );
}

function where(writer) {
  const process = writer.pid === null || writer.pid === undefined ? "" : `process ${writer.pid}`;
  return [writer.host ? name(writer.host) : "", writer.host && process ? ", " : "", process];
}

export function updateRow(node, writer, isOpen, now) {
  const [first, state, events, missing, became, heard] = node.cells;
  first.firstChild.setAttribute("aria-expanded", String(isOpen));
  node.classList.toggle("opened", isOpen);
  redo(first.lastChild, [writer.host, writer.pid], () => where(writer));
  redo(state, [writer.state, writer.missing > 0], () => [writerState(writer.state, writer.missing)]);
  say(events, count(writer.next_seq));
  say(missing, count(writer.missing));
  redo(became, [writer.unexplained, writer.explained, writer.waiting], () =>
    writer.missing
      ? [h("div", {}, fates(writer).map(({ tone, text }) => h("div", { class: `fate ${tone}` }, text)))]
      : [h("span", { class: "muted" }, NONE)],
  );
  const life = writer.is_last ? "has ended" : writer.is_silent ? "fell silent" : "";
  say(heard, `${utc(writer.last_seen)}${life ? `, ${life}` : ago(writer.last_seen, now)}`);
}

/** Make the content of a node anew only where what it shows differs. */
function redo(node, shown, make) {
  const said = JSON.stringify(shown);
  if (node.dataset.said === said) return;
  node.dataset.said = said;
  node.replaceChildren(...make());
}

/** What is below an open row; it asks for the one writer as long as it is open. */
export class Detail {
  constructor(writerId) {
    this.node = h("div", { class: "detail-body" }, h("p", { class: "loading" }, "Loading…"));
    this.source = new Source(`/v1/writers/${part(writerId)}`).subscribe(({ data }) => this.show(data));
  }

  stop() {
    this.source.stop();
  }

  show(writer) {
    if (!writer) {
      this.node.replaceChildren(empty("This writer cannot be read just now."));
      return;
    }
    this.node.replaceChildren(
      h("div", { class: "detail-grid" }, [
        section("Missing numbers", gaps(writer)),
        section("What it says of itself", counters(writer)),
        section("The process", about(writer)),
      ]),
    );
  }
}

const section = (title, ...children) => h("div", { class: "detail-part" }, h("h4", {}, title), children);

function gaps(writer) {
  const ranges = writer.gaps ?? [];
  if (!ranges.length) return writer.missing ? empty("Too many to list.") : empty("None: every number has arrived.");
  const left = writer.gap_count - ranges.length;
  return [
    h(
      "div",
      { class: "scroll gaps", tabindex: "0", role: "group", "aria-label": "Missing numbers" },
      pairs(ranges.map(([first, last]) => [first === last ? count(first) : `${count(first)} to ${count(last)}`, plural(last - first + 1, "number")])),
    ),
    left > 0 ? h("p", { class: "sub" }, `and ${plural(left, "gap")} more`) : null,
  ];
}

function counters(writer) {
  const given = Object.entries(writer.counters ?? {}).filter(([, n]) => n);
  if (!writer.last_report_at) return empty("No report has come from it: gaps can be seen, and not explained.");
  return [
    h("p", { class: "sub" }, `${writer.is_last ? "Last report" : "Reported"} ${utc(writer.last_report_at, true)}, by its own clock.`),
    pairs(given.map(([key, n]) => [name(key), count(n)])),
  ];
}

function about(writer) {
  const codes = Object.entries(writer.rejected_by_code ?? {});
  return pairs(
    [
      ["Models", writer.models?.length ? writer.models.map((one, i) => [i ? ", " : "", name(one)]) : NONE],
      ["Software", writer.sdk ? name(writer.sdk) : NONE],
      ["Started", utc(writer.started_at, true)],
      ["First event or report", utc(writer.first_seen, true)],
      ["Last event or report", utc(writer.last_seen, true)],
      codes.length ? ["Refused", codes.map(([code, n]) => `${count(n)} ${code}`).join(", ")] : null,
    ].filter(Boolean),
  );
}

const pairs = (all) =>
  h(
    "dl",
    { class: "pairs" },
    all.map(([term, value]) => h("div", {}, h("dt", {}, term), h("dd", {}, value))),
  );
