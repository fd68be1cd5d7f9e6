// What the panels of a story are made of.

import { h } from "../dom.js";

/** A panel of the story. */
export const section = (id, title, wide, ...inside) =>
  h(
    "section",
    { class: `card panel${wide ? " wide" : ""}`, id, "aria-labelledby": `${id}-title` },
    h("div", { class: "panel-head" }, h("h2", { id: `${id}-title` }, title)),
    h("div", { class: "panel-body" }, ...inside),
  );

/** Which prediction is meant: model, version and item. */
export const who = (one) => `${one.model} ${one.model_version}${one.item_id ? ` · ${one.item_id}` : ""}`;

/** A table whose rows turn into cards on a narrow screen. */
export function table(caption, heads, rows, style = "") {
  return h(
    "div",
    { class: "scroll" },
    h(
      "table",
      { class: `data stack ${style}` },
      h("caption", { class: "hidden" }, caption),
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          heads.map((head) => h("th", { scope: "col" }, head)),
        ),
      ),
      h(
        "tbody",
        {},
        rows.map((row) =>
          h(
            "tr",
            {},
            row.map((cell, i) =>
              h(
                i ? "td" : "th",
                {
                  scope: i ? null : "row",
                  "data-label": typeof heads[i] === "string" ? heads[i] : heads[i].textContent,
                },
                cell,
              ),
            ),
          ),
        ),
      ),
    ),
  );
}
