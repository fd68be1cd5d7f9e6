// Multivariate drift: the newest comparison of all features together, what its methods say, and what tells the sides apart.

import { asPython, empty, follow, h, name, place, say } from "../dom.js";
import { NONE, count, figure, part, plural, span, utc } from "../format.js";
import { Source } from "../live.js";
import { jobStatus, verdict } from "../verdict.js";

const HEADS = ["Method", "Verdict", "Number", "Threshold", "By chance", "What it says"];
const CALLED = { domain_classifier: "Domain classifier", pca_reconstruction: "PCA reconstruction error" };
const BASELINES = { reference: "the training data", previous: "the window before", last_week: "the week before" };
const MOST = 8;

function make() {
  return h(
    "tr",
    {},
    HEADS.map((word, i) => h(i ? "td" : "th", { "data-label": word, scope: i ? null : "row" })),
  );
}

function words(item) {
  if (item.reason) return item.reason;
  if (item.method === "domain_classifier") return "0.5: no row can be told from the baseline; 1: every row can";
  const percent = `${Math.abs(item.change * 100).toFixed(1)} %`;
  return `rows fit the baseline's pattern ${percent} ${item.change < 0 ? "better" : "worse"} than its own rows`;
}

function update(node, item) {
  const [first, judged, number, threshold, chance, says] = node.cells;
  say(first, CALLED[item.method] ?? item.method);
  if (node.dataset.said !== item.verdict) {
    node.dataset.said = item.verdict;
    judged.replaceChildren(verdict(item.verdict));
  }
  say(number, item.statistic === null ? NONE : figure(item.statistic));
  say(threshold, figure(item.threshold));
  say(chance, item.p_value === null ? NONE : item.p_value < 0.001 ? "< 0.1 %" : `${(item.p_value * 100).toFixed(1)} %`);
  say(says, words(item));
}

function described(job) {
  const found = job.result;
  if (!found) return [utc(job.created_at), job.error].filter(Boolean).join(" · ");
  const left = found.counts.left_out;
  return [
    found.window?.start ? `served ${span(found.window.start, found.window.end)}` : "",
    `${plural(found.rows.current, "row")} against ${count(found.rows.reference)} of ${BASELINES[found.baseline] ?? found.baseline}`,
    plural(found.counts.compared, "feature"),
    left ? `${count(left)} left out, wholly or in part` : "",
    found.note ?? "",
  ]
    .filter(Boolean)
    .join(" · ");
}

/** How long the newest closed windows have said drift without a break, by when the first of them began. */
function since(jobs) {
  let start = null;
  for (const job of jobs.filter((one) => one.request.revision !== undefined && one.status === "done")) {
    if (!job.result.drifted) break;
    start = job.result.window.start;
  }
  return start;
}

export function mount(section, context) {
  const [body, controls] = [place(section, "body"), place(section, "controls")];
  const address = `${context.base}/multivariate-drifts`;
  const source = new Source(address, { periodMs: 15000 });
  const rows = h("tbody");
  const head = HEADS.map((word) => h("th", { scope: "col" }, word));
  const caption = h("caption", { class: "hidden" }, "Multivariate drift, by method");
  const table = h("div", { class: "scroll" }, h("table", { class: "data stack" }, caption, h("thead", {}, h("tr", {}, head)), rows));
  const [status, about, lasting] = [h("span", {}), h("span", {}), h("p", { class: "sub" })];
  const told = h("p", { class: "sub" });
  const shown = h("div", {}, h("p", { class: "sub" }, status, " ", about), lasting, table, told);

  const trouble = h("p", { class: "sub", role: "status" });
  const button = h("button", { type: "button", class: "quiet" }, "Compare now");
  const python = h("span", {});
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      const answer = await fetch(address, { method: "POST", headers: { "content-type": "application/json" }, body: "{}" });
      say(trouble, answer.ok ? "" : ((await answer.json()).title ?? "The comparison was refused."));
    } catch {
      say(trouble, "The server does not answer; try again.");
    }
    button.disabled = false;
    source.soon();
  });
  controls.append(trouble, python, button);

  source.subscribe(({ data }) => {
    const jobs = data?.multivariate_drifts ?? [];
    button.hidden = !data;
    if (!jobs.length) {
      body.replaceChildren(
        empty(
          "Not yet: all features together were not compared. ",
          h("code", {}, "drift: {multivariate: [domain_classifier]}"),
          " compares every window that closes.",
        ),
      );
      return;
    }
    if (!shown.isConnected) body.replaceChildren(shown);
    const newest = jobs[0];
    if (status.dataset.said !== newest.status) {
      status.dataset.said = newest.status;
      status.replaceChildren(jobStatus(newest.status));
    }
    say(about, described(newest));
    const done = newest.status === "done" ? newest : jobs.find((one) => one.status === "done");
    const lines = done?.code ? `/v1/multivariate-drifts/${part(done.id)}` : "";
    if (python.dataset.said !== lines) {
      python.dataset.said = lines;
      python.replaceChildren(...(lines ? [asPython(lines)] : []));
    }
    table.hidden = newest.status !== "done";
    const start = since(jobs);
    lasting.hidden = !start;
    if (start) say(lasting, `Every closed window says drift since the one of ${utc(start)}.`);
    const methods = newest.result?.methods ?? [];
    follow(rows, methods, (one) => one.method, make, update);
    const importance = methods.flatMap((one) => one.importance ?? []).slice(0, MOST);
    told.hidden = !importance.length;
    const key = JSON.stringify(importance);
    if (told.dataset.said === key) return;
    told.dataset.said = key;
    told.replaceChildren(
      "Told apart by ",
      ...importance.flatMap((one, i) => [i ? ", " : "", name(one.feature), ` (${one.fall.toFixed(3)})`]),
      ": by so much the classifier's number falls without each.",
    );
  });
}
