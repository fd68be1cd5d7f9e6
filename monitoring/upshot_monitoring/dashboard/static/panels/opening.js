// Rows that open: a table in which the row of a column can show that column's own page below it.

import { follow, h, name } from "../dom.js";
import { Feature } from "./feature.js";

/** What tells rows apart: a score, a label and a feature may have the same name. */
export const keyOf = (one) => `${one.role ?? "feature"} ${one.feature}`;

/** The button in the first cell of a row that opens. */
export function opener(one, toggle) {
  return h(
    "button",
    { type: "button", class: "open", "aria-expanded": "false", onclick: toggle },
    h("span", { class: "caret", "aria-hidden": "true" }),
    name(one.feature),
  );
}

export class OpeningRows {
  /** `make(one, toggle)` and `update(node, one)` of one row; the first cell of a row holds its `opener`. */
  constructor(body, context, columns, { make, update, changed }) {
    Object.assign(this, { body, context, columns, make, update, changed, open: new Map() });
  }

  toggle(one) {
    const key = keyOf(one);
    if (this.open.has(key)) {
      this.open.get(key).stop();
      this.open.delete(key);
    } else this.open.set(key, new Feature(this.context, one));
    this.changed();
  }

  /** Show these; `asked` is the question that the open ones answer, too. */
  show(items, asked) {
    follow(
      this.body,
      items.flatMap((one) => (this.open.has(keyOf(one)) ? [{ one }, { one, detail: true }] : [{ one }])),
      ({ one, detail }) => `${detail ? "detail" : "row"} ${keyOf(one)}`,
      ({ one, detail }) =>
        detail
          ? h("tr", { class: "detail" }, h("td", { colspan: this.columns }, this.open.get(keyOf(one)).node))
          : this.make(one, () => this.toggle(one)),
      (node, { one, detail }) => {
        if (detail) return;
        const isOpen = this.open.has(keyOf(one));
        node.cells[0].firstChild.setAttribute("aria-expanded", String(isOpen));
        node.classList.toggle("opened", isOpen);
        this.update(node, one);
      },
    );
    for (const one of items) this.open.get(keyOf(one))?.judgedBy(one, asked);
  }
}
