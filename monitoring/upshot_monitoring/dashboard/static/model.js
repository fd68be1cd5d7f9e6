// A model's page: which panels there are, and what they share.

import { choice, say } from "./dom.js";
import { clock } from "./frame.js";
import { count, day, instant, part, plural, utc } from "./format.js";
import { Source } from "./live.js";
import { firing, health } from "./verdict.js";
import * as alerts from "./panels/alerts.js";
import * as attributions from "./panels/attributions.js";
import * as drift from "./panels/drift.js";
import * as trainingSets from "./panels/training-sets.js";
import * as figures from "./panels/figures.js";
import * as funnel from "./panels/funnel.js";
import * as labels from "./panels/labels.js";
import * as multivariate from "./panels/multivariate.js";
import * as performance_ from "./panels/performance.js";
import * as reports from "./panels/reports.js";
import * as freshness from "./panels/freshness.js";
import * as rowSkew from "./panels/row-skew.js";
import * as traffic from "./panels/traffic.js";
import * as versions from "./panels/versions.js";

const MOST_VERSIONS = 4;
const RANGES = [
  ["1d", "24 h"],
  ["7d", "7 d"],
  ["30d", "30 d"],
  ["90d", "90 d"],
  ["all", "All"],
];
/** Lengths of performance windows in hours, and as the API takes them. */
const LENGTHS = [
  [1, "1h"],
  [6, "6h"],
  [24, "1d"],
  [168, "7d"],
];
const ENOUGH_ROWS = 200;
const MOST_WINDOWS = 400;
const model = JSON.parse(document.getElementById("main").dataset.model);
const base = `/v1/models/${part(model)}`;
const asked = new URLSearchParams(location.search);

const context = {
  model,
  base,
  sources: {
    model: new Source(base),
    labels: new Source(`${base}/labels`),
    traffic: new Source(`${base}/traffic?bucket=day`),
    drift: new Source(`${base}/drift`, { periodMs: 5000 }),
  },
  /** Version names, oldest first; the last MOST_VERSIONS are drawn. */
  versions: [],
  range: RANGES.some(([key]) => key === asked.get("range")) ? asked.get("range") : "all",
  /** Length of a performance window: "auto" or one of LENGTHS. */
  length: LENGTHS.some(([, key]) => key === asked.get("window")) ? asked.get("window") : "auto",
  /** Predictions of all versions. */
  total: 0,
  firstSeen: NaN,
  lastSeen: NaN,
  /** Source of the performance of each drawn version, by version name. */
  performance: new Map(),
  onVersions: new Set(),
  onRange: new Set(),
  /** The style sheet's name of the colour that stands for a version everywhere on the page. */
  colourOf(version) {
    return `--v${(Math.max(0, this.versions.indexOf(version)) % 6) + 1}`;
  },
  /** Start of the chosen range (ms), or -Infinity; counted from the newest prediction on the server's clock, to the hour. */
  rangeStart() {
    const days = Number.parseInt(this.range, 10);
    const end = Number.isNaN(this.lastSeen) ? clock.now : this.lastSeen;
    return Number.isNaN(days) || Number.isNaN(end) ? -Infinity : Math.floor(end / 3600000) * 3600000 - days * 86400000;
  },
  /** How long a window of performance is: as chosen, or so that it holds enough rows to tell something. */
  window() {
    if (this.length !== "auto") return this.length;
    const from = Math.max(this.rangeStart(), this.firstSeen);
    const hours = Math.max(1, (this.lastSeen - from) / 3600000);
    const perHour =
      this.total / Math.max(1, this.versions.length) / Math.max(1, (this.lastSeen - this.firstSeen) / 3600000);
    const suits = ([hoursLong]) => hoursLong * perHour >= ENOUGH_ROWS && hours / hoursLong <= MOST_WINDOWS;
    return (LENGTHS.find(suits) ?? LENGTHS.at(-1))[1];
  },
  performanceAddress(version) {
    const query = new URLSearchParams({ window: this.window(), version });
    const start = this.rangeStart();
    if (start !== -Infinity) query.set("start", new Date(start).toISOString());
    return `${base}/performance?${query}`;
  },
  /** Remember a choice in the address, so that a link shows the same. */
  remember(key, value) {
    const now = new URLSearchParams(location.search);
    now.set(key, value);
    history.replaceState(null, "", `?${now}${location.hash}`);
  },
  choose(length) {
    this.length = length;
    this.remember("window", length);
    followVersions(this.versions);
  },
  asked,
};

function followVersions(names) {
  const changed = names.join("\0") !== context.versions.join("\0");
  context.versions = names;
  const drawn = names.slice(-MOST_VERSIONS);
  for (const [version, source] of context.performance) {
    if (!drawn.includes(version)) {
      source.stop();
      context.performance.delete(version);
    }
  }
  for (const version of drawn) {
    const address = context.performanceAddress(version);
    if (!context.performance.has(version)) context.performance.set(version, new Source(address, { periodMs: 4000 }));
    else context.performance.get(version).turnTo(address);
  }
  if (changed) for (const listener of context.onVersions) listener();
}

document.getElementById("range").append(
  choice("Range", RANGES, context.range, (value) => {
    context.range = value;
    context.remember("range", value);
    followVersions(context.versions);
    for (const listener of context.onRange) listener();
  }),
);

for (const [id, panel] of Object.entries({
  figures,
  alerts,
  performance: performance_,
  versions,
  drift,
  freshness,
  attributions,
  multivariate,
  "row-skew": rowSkew,
  traffic,
  funnel,
  labels,
  "training-sets": trainingSets,
  reports,
})) {
  panel.mount(document.getElementById(id), context);
}

// Predictions can be logged long after they were made: the first one made, not the first one received, begins the story.
let servedSince = Infinity;
context.sources.traffic.subscribe(({ data }) => {
  const starts = (data?.points ?? []).map((one) => instant(one.start)).filter((ms) => !Number.isNaN(ms));
  servedSince = starts.reduce((least, ms) => Math.min(least, ms), servedSince);
  if (servedSince < context.firstSeen) tell(context.sources.model.answer);
});
context.sources.model.subscribe(tell);

function tell({ status, data }) {
  const sub = document.getElementById("model-sub");
  if (!data) {
    say(
      sub,
      status === 404
        ? "No prediction of this model has arrived yet. This page will notice when one does."
        : "This model cannot be read just now.",
    );
    return;
  }
  const known = (data.versions ?? []).map((one) => (typeof one === "object" ? one : { version: one }));
  known.sort((a, b) => (instant(a.first_seen) || 0) - (instant(b.first_seen) || 0));
  const seen = known.map((one) => instant(one.last_seen)).filter((ms) => !Number.isNaN(ms));
  context.firstSeen = Math.min(instant(known[0]?.first_seen ?? data.first_seen), servedSince);
  context.lastSeen = seen.length ? Math.max(...seen) : instant(data.last_seen);
  context.total = known.reduce((sum, one) => sum + (one.predictions ?? 0), 0);
  followVersions(known.map((one) => String(one.version)));
  const words = [];
  if (data.config?.task) words.push(data.config.task);
  if (known.length) words.push(plural(known.length, "version"));
  if (!Number.isNaN(context.firstSeen)) words.push(`since ${day(context.firstSeen)}`);
  if (!Number.isNaN(context.lastSeen)) words.push(`last prediction ${utc(context.lastSeen)}`);
  say(sub, words.join(" · ") || count(undefined));
  const state = document.getElementById("model-health");
  const said = JSON.stringify([data.health ?? null, data.alerts ?? []]);
  if (data.health && state.dataset.said !== said) {
    state.dataset.said = said;
    state.replaceChildren(...[firing(data.alerts, utc), health(data.health)].filter(Boolean));
  }
}
