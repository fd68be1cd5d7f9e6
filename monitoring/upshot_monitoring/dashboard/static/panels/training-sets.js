// Training sets: the references that serving is compared with, and the exports made for the next round.

import { empty, follow, h, name, place, say } from "../dom.js";
import { NONE, count, part, share, span, utc } from "../format.js";
import { Source } from "../live.js";
import { jobStatus } from "../verdict.js";

function table(caption, heads) {
  const rows = h("tbody");
  const node = h(
    "div",
    { class: "scroll" },
    h("h3", {}, caption),
    h(
      "table",
      { class: "data stack" },
      h("caption", { class: "hidden" }, caption),
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          heads.map(([word, kind]) => h("th", { scope: "col", class: kind }, word)),
        ),
      ),
      rows,
    ),
  );
  return { node, rows };
}

const row = (heads, first) =>
  h(
    "tr",
    {},
    heads.map(([word, kind], i) =>
      h(i ? "td" : "th", { class: kind, "data-label": word, scope: i ? null : "row" }, i ? null : first),
    ),
  );

const REFERENCE = [["Reference"], ["Model version"], ["Rows", "num"], ["Added", "time"]];
const EXPORT = [
  ["Export"],
  ["Status"],
  ["Period", "time"],
  ["As of", "time"],
  ["Rows", "num"],
  ["Outcomes"],
  ["Files", "num"],
  ["SHA-256"],
];

function states(manifest) {
  return (
    Object.entries(manifest?.states ?? {})
      .filter(([, n]) => n)
      .map(([state, n]) => `${count(n)} ${state}`)
      .join(", ") || NONE
  );
}

function updateExport(node, item) {
  const [, status, period, asOf, rows, outcomes, files, sum] = node.cells;
  const manifest = item.manifest;
  const said = `${item.status} ${item.progress}`;
  if (status.dataset.said !== said) {
    status.dataset.said = said;
    const running = item.status === "running" && typeof item.progress === "number";
    status.replaceChildren(
      jobStatus(item.status),
      running ? h("progress", { max: 1, value: item.progress, "aria-label": "Progress" }) : "",
      running ? h("span", { class: "muted" }, share(item.progress)) : "",
    );
  }
  say(period, manifest?.start || manifest?.end ? span(manifest.start, manifest.end) : NONE);
  say(asOf, utc(manifest?.as_of));
  say(rows, count(manifest?.rows));
  say(outcomes, states(manifest));
  say(files, count(manifest?.files?.length));
  if (manifest?.sha256 && sum.textContent !== manifest.sha256.slice(0, 12))
    sum.replaceChildren(h("code", { title: manifest.sha256 }, manifest.sha256.slice(0, 12)));
  else if (!manifest?.sha256) say(sum, NONE);
}

export function mount(section, context) {
  const body = place(section, "body");
  const references = table("References", REFERENCE);
  const exports = table("Exports", EXPORT);
  let [knownReferences, knownExports] = [[], []];

  function show() {
    if (!knownReferences.length && !knownExports.length) {
      body.replaceChildren(
        empty(
          "Not yet: no training set was added as a reference, and none was exported. Make one with ",
          h("code", {}, "upshot export"),
          ".",
        ),
      );
      return;
    }
    references.node.hidden = !knownReferences.length;
    exports.node.hidden = !knownExports.length;
    if (!references.node.isConnected) body.replaceChildren(exports.node, references.node);
    follow(
      exports.rows,
      knownExports,
      (one) => one.id,
      (one) =>
        row(
          EXPORT,
          h("a", { href: `/v1/exports/${part(one.id)}` }, name(String(one.id).slice(0, 10), { title: one.id })),
        ),
      updateExport,
    );
    follow(
      references.rows,
      knownReferences,
      (one) => one.id,
      (one) => row(REFERENCE, name(String(one.id).slice(0, 10), { title: one.id })),
      (node, one) => {
        say(node.cells[1], one.model_version ?? NONE);
        say(node.cells[2], count(one.rows));
        say(node.cells[3], utc(one.created_at));
      },
    );
  }

  context.sources.model.subscribe(({ data }) => {
    knownReferences = data?.references ?? [];
    show();
  });
  new Source(`/v1/exports?model=${part(context.model)}`, { periodMs: 5000 }).subscribe(({ data }) => {
    // An export that has no manifest yet belongs to this model unless it says otherwise.
    knownExports = (data?.exports ?? []).filter(
      (one) => (one.manifest?.model ?? one.model ?? context.model) === context.model,
    );
    show();
  });
}
