// Numbers and times as a person reads them. Undefined is "–", never 0. Times are UTC.

export const NONE = "–";
const grouped = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const compactly = new Intl.NumberFormat("en-US", { notation: "compact", maximumSignificantDigits: 3 });

const known = (value) => typeof value === "number" && Number.isFinite(value);

/** 1234567 -> "1,234,567". */
export const count = (value) => (known(value) ? grouped.format(value) : NONE);

/** 1234567 -> "1.23M", for places where there is no room. */
export const compact = (value) => (known(value) ? compactly.format(value) : NONE);

/** A statistic or metric: as many decimals as tell something. */
export function figure(value, decimals = 3) {
  if (!known(value)) return NONE;
  if (value !== 0 && (Math.abs(value) < 10 ** -decimals || Math.abs(value) >= 1e9)) return value.toExponential(2);
  if (Math.abs(value) >= 1000) return new Intl.NumberFormat("en-US", { maximumFractionDigits: 1 }).format(value);
  return value.toFixed(decimals);
}

/** A share 0..1 as per cent; what is not all never reads 100 %, what is not nothing never reads 0 %. */
export function share(value) {
  if (!known(value)) return NONE;
  if (value > 0 && value < 0.0005) return "<0.1 %";
  if (value < 1 && value > 0.9995) return ">99.9 %";
  return `${(value * 100).toFixed(value === 0 || value === 1 ? 0 : 1)} %`;
}

const UNITS = [
  ["d", 86400],
  ["h", 3600],
  ["min", 60],
  ["s", 1],
];

/** 15120 -> "4 h 12 min". */
export function duration(seconds) {
  if (!known(seconds)) return NONE;
  const sign = seconds < 0 ? "−" : "";
  const rest = Math.abs(seconds);
  if (rest === 0) return "0 s";
  if (rest < 1) return `${sign}${Math.max(1, Math.round(rest * 1000))} ms`;
  if (rest < 10) return `${sign}${rest.toFixed(1).replace(/\.0$/, "")} s`;
  const at = UNITS.findIndex(([, size]) => rest >= size);
  const [unit, size] = UNITS[at];
  const lower = UNITS[at + 1];
  if (!lower) return `${sign}${Math.round(rest)} s`;
  let whole = Math.floor(rest / size);
  let part = Math.round((rest - whole * size) / lower[1]);
  if (part * lower[1] >= size) [whole, part] = [whole + 1, 0];
  return `${sign}${whole} ${unit}${part && whole < 100 ? ` ${part} ${lower[0]}` : ""}`;
}

const WORDS = [
  ["day", 86400],
  ["hour", 3600],
  ["minute", 60],
  ["second", 1],
];
const NUMBERS = [
  "no",
  "one",
  "two",
  "three",
  "four",
  "five",
  "six",
  "seven",
  "eight",
  "nine",
  "ten",
  "eleven",
  "twelve",
];

/** 15120 -> "four hours", for sentences. */
export function inWords(seconds) {
  if (!known(seconds)) return "an unknown time";
  const rest = Math.abs(seconds);
  if (rest < 1) return "less than a second";
  let [word, size] = WORDS.find(([, unit]) => rest >= unit);
  let n = Math.round(rest / size);
  if (word === "hour" && n === 24) [word, n] = ["day", 1];
  else if (word === "minute" && n === 60) [word, n] = ["hour", 1];
  else if (word === "second" && n === 60) [word, n] = ["minute", 1];
  return `${NUMBERS[n] ?? grouped.format(n)} ${word}${n === 1 ? "" : "s"}`;
}

/** Milliseconds since 1970 of an API time (ISO 8601; without a zone it is UTC), or NaN. */
export function instant(time) {
  if (typeof time !== "string") return NaN;
  return Date.parse(/(Z|[+-]\d\d:?\d\d)$/i.test(time) ? time : `${time.replace(" ", "T")}Z`);
}

const iso = (ms, length) => new Date(ms).toISOString().slice(0, length).replace("T", " ");

/** "2013-07-04 12:00 UTC" (to the minute), or to the second. */
export function utc(time, seconds = false) {
  const ms = typeof time === "number" ? time : instant(time);
  return Number.isNaN(ms) ? NONE : `${iso(ms, seconds ? 19 : 16)} UTC`;
}

/** " (5 h ago)" of an API time, to follow it; nothing within the last second, or while `now` (ms since 1970) is not known. */
export function ago(time, now) {
  const seconds = (now - instant(time)) / 1000;
  return seconds >= 1 ? ` (${duration(seconds)} ago)` : "";
}

/** "2013-07-04". */
export function day(time) {
  const ms = typeof time === "number" ? time : instant(time);
  return Number.isNaN(ms) ? NONE : iso(ms, 10);
}

/** A window of time, as short as it can be said: whole days without hours. */
export function span(start, end) {
  const [from, to] = [instant(start), instant(end)];
  if (Number.isNaN(from)) return NONE;
  if (Number.isNaN(to)) return `from ${utc(from)}`;
  if (from % 86400000 === 0 && to % 86400000 === 0) {
    return to - from === 86400000 ? `${iso(from, 10)} (UTC)` : `${iso(from, 10)} to ${iso(to - 1, 10)} (UTC)`;
  }
  return iso(from, 10) === iso(to, 10)
    ? `${iso(from, 16)} to ${iso(to, 16).slice(11)} UTC`
    : `${iso(from, 16)} to ${iso(to, 16)} UTC`;
}

/** What plotly reads as a UTC time: it takes text without a zone at its word, but shifts numbers to the browser's zone. */
export const plotTime = (ms) => (Number.isNaN(ms) ? null : iso(ms, 23));

/** A part of an address; IDs and names may hold anything. */
export const part = (text) => encodeURIComponent(String(text).toWellFormed?.() ?? String(text));

/** "1 prediction", "2 predictions". */
export const plural = (n, word) => `${count(n)} ${word}${n === 1 ? "" : "s"}`;
