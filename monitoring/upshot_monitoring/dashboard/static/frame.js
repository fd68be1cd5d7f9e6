// What every page has: the live indicator, the server's clock, the search key, the line that says the server is gone.

import { say } from "./dom.js";
import { NONE, instant, plural, utc } from "./format.js";
import { Source, onState, pause, state } from "./live.js";

const byId = (id) => document.getElementById(id);

/** The server's own state: version, clock, backlog. */
export const status = new Source("/v1/status");
/** The server's clock in ms since 1970 (a demo replays another year), or NaN while it is not known. */
export const clock = { now: NaN };

status.subscribe(({ data }) => {
  clock.now = instant(data?.now);
  if (data?.version) say(byId("foot-version"), data.version);
  const store = typeof data?.store === "string" ? data.store : (data?.store?.kind ?? data?.store?.engine);
  byId("foot-store").hidden = !store;
  if (store) say(byId("foot-store"), `Store: ${store}`);
  const behind = data?.requests_to_join;
  byId("foot-backlog").hidden = !behind;
  if (behind) say(byId("foot-backlog"), `${plural(behind, "request")} waiting to be joined`);
  failing = Boolean(data?.writer_failing);
  late = data?.alerts?.late && data.alerts.rules !== 0 ? (data.alerts.evaluated_at ?? "never") : "";
  say(byId("foot-clock"), Number.isNaN(clock.now) ? "All times are UTC." : `Server clock: ${utc(clock.now, true)}`);
  show();
});

let failing = false;
/** Since when alert rules were not looked at, where that is too long ago. */
let late = "";

function show() {
  const known = !Number.isNaN(clock.now);
  const time = known ? utc(clock.now) : NONE;
  byId("live").hidden = false;
  byId("live").classList.toggle("stopped", state.paused || state.unreachable);
  const word = state.paused ? "Paused" : state.unreachable ? "Offline" : "Live";
  say(byId("live-text"), known ? `${word} · ${time}` : word);
  say(byId("live-toggle"), state.paused ? "Resume" : "Pause");
  const trouble = byId("trouble");
  const words = state.lastGood
    ? `The server does not answer. The numbers are from ${new Date(state.lastGood).toISOString().slice(11, 19)} UTC; trying again.`
    : "The server does not answer; trying again.";
  if (state.unreachable) say(trouble, words);
  else if (failing)
    say(trouble, "The store takes no writes at the moment: predictions and labels are refused until it does.");
  else if (late)
    say(trouble, `Alert rules are not evaluated as they should be: they were looked at last ${late === "never" ? "never" : `at ${utc(late)}`}. No alert will come.`);
  trouble.hidden = !state.unreachable && !failing && !late;
}

byId("live-toggle").addEventListener("click", () => pause(!state.paused));
onState(show);

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, select, textarea, [contenteditable]");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    byId("find").select();
  }
});
