// The list of models.

import { follow, h, name, s, say } from "./dom.js";
import { clock, status as server } from "./frame.js";
import { NONE, ago, count, part, plural, share, utc } from "./format.js";
import { Source } from "./live.js";
import { firing, health } from "./verdict.js";

const byId = (id) => document.getElementById(id);
/** Models for which traffic and coverage are fetched; a list of hundreds would keep the server busy. */
const MOST_DETAILED = 20;
const traffic = new Map();

function sparkline(points) {
  const totals = new Map();
  for (const { start, predictions } of points) totals.set(start, (totals.get(start) ?? 0) + predictions);
  const values = [...totals.entries()]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .slice(-90)
    .map(([, n]) => n);
  if (values.length < 2) return h("span", { class: "muted" }, NONE);
  const [width, height, most] = [120, 28, Math.max(...values, 1)];
  const at = values.map(
    (n, i) =>
      `${((i / (values.length - 1)) * (width - 2) + 1).toFixed(1)},${(height - 2 - (n / most) * (height - 5)).toFixed(1)}`,
  );
  return s(
    "svg",
    {
      class: "spark",
      viewBox: `0 0 ${width} ${height}`,
      width,
      height,
      role: "img",
      "aria-label": `Predictions by day, ${values.length} days, at most ${count(most)} a day`,
    },
    s("polygon", { points: `1,${height - 1} ${at.join(" ")} ${width - 1},${height - 1}` }),
    s("polyline", { points: at.join(" ") }),
  );
}

function row(item) {
  const cell = (label, properties) => h("td", { "data-label": label, ...properties });
  const node = h(
    "tr",
    {},
    h(
      "th",
      { scope: "row", "data-label": "Model" },
      h("a", { href: `/models/${part(item.model)}`, class: "strong" }, name(item.model)),
    ),
    cell("Health"),
    cell("Traffic", { class: "spark-cell" }),
    cell("Predictions", { class: "num" }),
    cell("Versions"),
    cell("Label coverage", { class: "num" }),
    cell("First prediction", { class: "time" }),
    cell("Last prediction", { class: "time" }),
  );
  return node;
}

function update(node, item) {
  const [, state, line, predictions, versions, coverage, first, last] = node.cells;
  const said = JSON.stringify([item.health ?? null, item.alerts ?? []]);
  if (state.dataset.said !== said) {
    state.dataset.said = said;
    state.replaceChildren(...[firing(item.alerts, utc), health(item.health)].filter(Boolean));
  }
  say(predictions, count(item.predictions));
  const all = (item.versions ?? []).map((one) => (typeof one === "object" ? one.version : one));
  const spoken = all.length > 3 ? `${plural(all.length, "version")}, newest ${all.at(-1)}` : all.join(", ");
  if (versions.textContent !== (spoken || NONE)) versions.replaceChildren(h("bdi", {}, spoken || NONE));
  say(first, utc(item.first_seen));
  say(last, `${utc(item.last_seen)}${ago(item.last_seen, clock.now)}`);
  if (!traffic.has(item.model) && traffic.size < MOST_DETAILED) {
    const source = new Source(`/v1/models/${part(item.model)}/traffic?bucket=day`, { periodMs: 10000 });
    traffic.set(item.model, source);
    source.subscribe(({ data }) =>
      line.replaceChildren(data?.points ? sparkline(data.points) : h("span", { class: "muted" }, NONE)),
    );
    new Source(`/v1/models/${part(item.model)}/labels`, { periodMs: 10000 }).subscribe(({ data }) =>
      say(coverage, share(data?.labels?.[0]?.coverage)),
    );
  }
}

function firstSteps() {
  const here = location.origin;
  say(
    byId("snippet-sdk"),
    `import upshot

upshot.configure(url="${here}", model="fraud", model_version="1")

request_id = upshot.log_prediction(
    features={"amount": 12.5, "country": "DE", "is_new": True},
    prediction=0.93,
)
upshot.flush()      # at the end of a script; a service need not
print(request_id)   # keep it: the label will refer to it`,
  );
  say(
    byId("snippet-curl"),
    `curl ${here}/v1/labels -H 'content-type: application/json' \\
  -d '{"request_id": "REQUEST_ID", "name": "label", "value": 1}'`,
  );
}

let shown = [];
function draw() {
  follow(byId("models-rows"), shown, (one) => one.model, row, update);
}

new Source("/v1/models").subscribe(({ status, data }) => {
  const loading = byId("index-loading");
  if (!data) {
    loading.hidden = false;
    say(
      loading,
      status === 401 || status === 403
        ? "This server asks for an API key, and this page has none."
        : "The list of models cannot be read just now.",
    );
    return;
  }
  loading.hidden = true;
  const models = [...(data.models ?? [])].sort((a, b) => (b.last_seen ?? "").localeCompare(a.last_seen ?? ""));
  byId("models").hidden = models.length === 0;
  byId("first-steps").hidden = models.length > 0;
  if (models.length === 0) firstSteps();
  const total = models.reduce((sum, one) => sum + (one.predictions ?? 0), 0);
  say(byId("index-sub"), models.length ? `${plural(models.length, "model")}, ${plural(total, "prediction")}` : "");
  shown = models;
  draw();
});
server.subscribe(draw); // how long ago it was changes with the clock, when nothing else does
