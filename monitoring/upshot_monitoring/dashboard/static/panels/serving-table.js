// A panel that is there once its model logs what it is about: a table of columns that open, over one address of the API.

import { asPython, h, place, say } from "../dom.js";
import { CALLED } from "./drift.js";
import { span } from "../format.js";
import { Source } from "../live.js";
import { OpeningRows, opener } from "./opening.js";

const MOST = 40;

/** `heads` are [word, class] pairs, `cells(one)` the texts or nodes after the first, `about(data)` the words below the title. */
export function servingTable(section, context, { what, role, heads, cells, about }) {
  const [body, controls, note] = [place(section, "body"), place(section, "controls"), place(section, "note")];
  const link = document.querySelector(`.sections a[href="#${section.id}"]`);
  const rows = h("tbody");
  const head = heads.map(([word, style]) => h("th", { scope: "col", class: style }, word));
  const caption = h("caption", { class: "hidden" }, section.querySelector("h2").textContent);
  const table = h("table", { class: "data stack features" }, caption, h("thead", {}, h("tr", {}, head)), rows);
  let shown = [];

  function make(one, toggle) {
    const rest = heads.slice(1).map(([word, style]) => h("td", { class: style, "data-label": word }));
    return h("tr", { class: "feature" }, h("th", { scope: "row", "data-label": heads[0][0] }, opener(one, toggle)), rest);
  }

  function update(node, one) {
    const said = JSON.stringify(one);
    if (node.dataset.said === said) return;
    node.dataset.said = said;
    cells(one).forEach((cell, i) => node.cells[i + 1].replaceChildren(cell));
  }

  const opening = new OpeningRows(rows, context, heads.length, { make, update, changed: show });
  const source = new Source(`${context.base}/${what}`, { periodMs: 5000 }).subscribe(({ data }) => {
    shown = (data?.features ?? []).slice(0, MOST).map((one) => ({ ...one, role }));
    // Nothing in the way of those who do not log it.
    section.hidden = link.hidden = !shown.length;
    if (!shown.length) return;
    if (!table.isConnected) {
      body.replaceChildren(h("div", { class: "scroll" }, table));
      controls.replaceChildren(asPython(source.address));
    }
    const detail = data.baseline_detail ?? {};
    const earlier = detail.start ? ` (${span(detail.start, detail.end)})` : "";
    const window = `Served ${span(data.window.start, data.window.end)}, against ${CALLED[data.baseline]}${earlier}.`;
    say(note, `${window} ${about(data)}`);
    show();
  });

  function show() {
    opening.show(shown, {});
  }
}
