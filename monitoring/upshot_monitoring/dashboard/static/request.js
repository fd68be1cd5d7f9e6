// One request's story: what was served, each thing said about it since, and how its outcomes stand.

import { empty, h, name } from "./dom.js";
import { parseExactly } from "./exact.js";
import { clock, status } from "./frame.js";
import { NONE, instant, part, plural, utc } from "./format.js";
import { Source } from "./live.js";
import { section, table, who } from "./story/parts.js";
import { features, inputs, prediction } from "./story/served.js";
import { timeline } from "./story/timeline.js";
import { fates, reason, tell } from "./story/words.js";
import { show } from "./values.js";
import { outcomeState } from "./verdict.js";

const root = document.getElementById("story");
const requestId = JSON.parse(document.getElementById("main").dataset.request);
document.getElementById("find").value = requestId;

function render(story, text, known) {
  const predictions = story.predictions ?? [];
  const outcomes = story.outcomes ?? [];
  const events = [...(story.label_events ?? [])].sort(
    (a, b) => (instant(a.received_at) || 0) - (instant(b.received_at) || 0),
  );
  const start = new Map(
    predictions.map((one) => [JSON.stringify([one.model, one.model_version, one.item_id ?? ""]), one.predicted_at]),
  );
  const parts = [
    h("p", { class: "lead" }, `${plural(predictions.length, "prediction")}, ${plural(events.length, "label event")}.`),
    tale(
      outcomes.map((one) =>
        h(
          "li",
          {},
          h(
            "span",
            { class: "tale-head" },
            outcomeState(one.state),
            " ",
            name(one.name),
            h("span", { class: "muted" }, " of ", name(who(one))),
          ),
          h(
            "span",
            {},
            tell(one, events, start.get(JSON.stringify([one.model, one.model_version, one.item_id ?? ""])), clock.now),
          ),
          one.because?.text
            ? h("p", { class: "why", "data-part": "because" }, "Why: ", h("bdi", {}, one.because.text), ".")
            : null,
        ),
      ),
      outcomes,
    ),
    !predictions.length
      ? empty(
          "Labels have arrived for this request, but its prediction is not known (yet): they are orphans and join at once when it arrives.",
        )
      : null,
  ];
  root.replaceChildren(
    h("div", { class: "card lead-card" }, parts),
    h(
      "div",
      { class: "panels" },
      [
        section("served", "As served", false, h("div", { class: "served-list" }, predictions.map(prediction))),
        section("timeline", "Timeline", false, timeline(story)),
        section("features", "Features", true, features(predictions, known)),
        inputs(predictions),
        section(
          "events",
          "Label events",
          true,
          events.length
            ? table(
                "Label events",
                ["Label", "Operation", "Value", "Counts", "Observed at", "Received at", "Source", "Item", "Label ID"],
                events.map((one) => [
                  name(one.name),
                  one.op ?? NONE,
                  one.op === "retract" ? NONE : show(one.value, true),
                  counts(one, outcomes),
                  utc(one.observed_at, true),
                  utc(one.received_at, true),
                  one.source ? name(one.source) : NONE,
                  one.item_id ? name(one.item_id) : NONE,
                  h("code", { class: "value" }, String(one.label_id ?? NONE)),
                ]),
              )
            : empty("None yet."),
        ),
        section(
          "outcomes",
          "Outcomes",
          true,
          outcomes.length
            ? table(
                "Outcomes",
                ["Label", "Of", "State", "Value", "Observed at", "Received at", "Matures at"],
                outcomes.map((one) => [
                  name(one.name),
                  name(who(one)),
                  outcomeState(one.state),
                  one.value === null || one.value === undefined ? NONE : show(one.value, true),
                  utc(one.observed_at, true),
                  utc(one.received_at, true),
                  utc(one.matures_at, true),
                ]),
              )
            : empty("None yet."),
        ),
      ].filter(Boolean),
    ),
    h(
      "details",
      { class: "raw card" },
      h("summary", {}, "The answer of the API, as it is"),
      h("pre", {}, h("code", {}, text)),
    ),
  );
  root.setAttribute("aria-busy", "false");
}

/** Many outcomes (a slate has one per item and label): those of which something is known first, the rest behind a line to open. */
const MOST_TOLD = 8;
function tale(lines, outcomes) {
  const order = outcomes.map((one, i) => [one.state === "pending" ? 1 : 0, i]).sort(([a, i], [b, j]) => a - b || i - j);
  const all = order.map(([, i]) => lines[i]);
  if (all.length <= MOST_TOLD + 2) return h("ul", { class: "tale" }, all);
  return h(
    "div",
    {},
    h("ul", { class: "tale" }, all.slice(0, MOST_TOLD)),
    h(
      "details",
      { class: "as-table rest" },
      h("summary", {}, `${plural(all.length - MOST_TOLD, "more outcome")}`),
      h("ul", { class: "tale" }, all.slice(MOST_TOLD)),
    ),
  );
}

/** Whether an event decided, or why it does not count; of several outcomes that it concerns, each that differs. */
function counts(event, outcomes) {
  if (event.waiting) return h("span", { class: "muted" }, "waits for its prediction");
  const said = fates(event, outcomes).map((one) => (one === "decides" ? "decides" : reason(one)));
  return said.length ? said.join("; ") : NONE;
}

/** What each model is known to serve, so that a feature this request lacks can be called absent. */
const served = new Map();

function learn(story) {
  for (const { model } of story.predictions ?? []) {
    if (served.has(model)) continue;
    served.set(model, []);
    const source = new Source(`/v1/models/${part(model)}`);
    source.subscribe(({ data }) => {
      served.set(
        model,
        (data?.features ?? []).map((one) => one.name).filter((one) => typeof one === "string"),
      );
      source.stop();
      draw();
    });
  }
}

let answer = null;
let drawn = "";

function draw() {
  if (!answer) return;
  const { status: code, data, text } = answer;
  root.setAttribute("aria-busy", "false");
  if (code === 404 || code === 405) {
    root.replaceChildren(
      h(
        "div",
        { class: "card lead-card" },
        empty(
          "No prediction and no label with this request ID has arrived. IDs are compared letter by letter. If one arrives, it appears here by itself.",
        ),
      ),
    );
  } else if (!data)
    root.replaceChildren(
      h(
        "div",
        { class: "card lead-card" },
        empty(code === 0 ? "The server does not answer; trying again." : "This story cannot be read just now."),
      ),
    );
  else {
    learn(data);
    const known = [...served.values()].flat();
    // A page is drawn anew only for something new, and never while someone has a part of it open.
    const now = JSON.stringify([
      text,
      known,
      Number.isNaN(clock.now),
      data.outcomes?.map((one) => instant(one.matures_at) > clock.now),
    ]);
    if (now === drawn || root.querySelector("details[open]")) return;
    drawn = now;
    render(data, text, known);
  }
}

if (requestId) {
  new Source(`/v1/predictions/${part(requestId)}`, { parse: parseExactly }).subscribe((latest) => {
    answer = latest;
    draw();
  });
  status.subscribe(draw);
}
