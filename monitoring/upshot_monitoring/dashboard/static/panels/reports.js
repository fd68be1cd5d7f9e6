// Evidently reports: made on demand in a process of their own, opened on a page that has no rights of this site.

import { empty, follow, h, name, place, say } from "../dom.js";
import { NONE, count, part, span, utc } from "../format.js";
import { Source } from "../live.js";
import { jobStatus } from "../verdict.js";

const HEADS = ["Report", "Status", "Window", "Result", "Asked for"];

function make() {
  return h(
    "tr",
    {},
    HEADS.map((word, i) => h(i ? "td" : "th", { "data-label": word, scope: i ? null : "row" })),
  );
}

function update(node, item) {
  const [first, status, window, result, asked] = node.cells;
  const said = JSON.stringify([item.status, item.error]);
  if (node.dataset.said !== said) {
    node.dataset.said = said;
    const id = name(String(item.id).slice(0, 10));
    const page = `/v1/reports/${part(item.id)}/html`;
    const title = "Download the lines of Python that make this report again";
    first.replaceChildren(
      ...(item.status === "done"
        ? [
            h("a", { href: page, target: "_blank", rel: "noopener" }, id),
            " ",
            h("a", { href: `/v1/reports/${part(item.id)}/code`, download: "", title }, "Python"),
          ]
        : [id]),
    );
    status.replaceChildren(jobStatus(item.status));
  }
  const found = item.result;
  say(window, found?.window?.start ? span(found.window.start, found.window.end) : NONE);
  const features = Array.isArray(found?.features) ? found.features : [];
  const drifted = features.filter((one) => one.verdict === "drift").length;
  const judged = features.length ? `${count(drifted)} of ${count(features.length)} columns drifted` : NONE;
  const suite = found?.suite;
  const tests = suite ? `; ${count(suite.passed)} tests passed, ${count(suite.failed)} failed` : "";
  say(result, item.error ?? `${judged}${tests}`);
  say(asked, utc(item.created_at));
}

export function mount(section, context) {
  const [body, controls] = [place(section, "body"), place(section, "controls")];
  const rows = h("tbody");
  const caption = h("caption", { class: "hidden" }, "Evidently reports, newest first");
  const head = h(
    "thead",
    {},
    h(
      "tr",
      {},
      HEADS.map((word) => h("th", { scope: "col" }, word)),
    ),
  );
  const table = h("div", { class: "scroll" }, h("table", { class: "data stack" }, caption, head, rows));
  const address = `${context.base}/reports`;
  const source = new Source(address, { periodMs: 5000 });
  const button = h("button", { type: "button", class: "quiet" }, "Make a report");
  const trouble = h("p", { class: "sub", role: "status" });
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      const answer = await fetch(address, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: "{}",
      });
      say(trouble, answer.ok ? "" : ((await answer.json()).title ?? "The report was refused."));
    } catch {
      say(trouble, "The server does not answer; try again.");
    }
    button.disabled = false;
    source.soon();
  });
  controls.append(trouble, button);

  source.subscribe(({ data }) => {
    const reports = data?.reports ?? [];
    button.hidden = !data;
    if (!reports.length) {
      body.replaceChildren(
        empty("Not yet: no report was made. A report is Evidently's page on the current window, with our verdicts."),
      );
      return;
    }
    if (!table.isConnected) body.replaceChildren(table);
    follow(rows, reports, (one) => one.id, make, update);
  });
}
