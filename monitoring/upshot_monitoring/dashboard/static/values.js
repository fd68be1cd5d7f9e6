// Values exactly as they were served: 1, 1.0, "1", NaN, null and absent all look different.

import { h } from "./dom.js";
import { Literal } from "./exact.js";

/** A value that was not sent at all. */
export const ABSENT = Symbol("absent");

const NON_FINITE = new Set(["NaN", "Infinity", "-Infinity"]);

/** The type of a value in words; `nonFinite` says that a string stands for a float that JSON cannot write. */
export function typeOf(value, nonFinite = false) {
  if (value === ABSENT) return "absent";
  if (value === null) return "null";
  if (value instanceof Literal) return value.type;
  if (nonFinite && NON_FINITE.has(value)) return "float";
  if (Array.isArray(value)) return `list of ${value.length}`;
  return { string: "string", boolean: "boolean", object: "mapping" }[typeof value] ?? typeof value;
}

/** The value as text: strings in quotes, numbers by their literal. */
export function write(value, nonFinite = false) {
  if (value === ABSENT) return "absent";
  if (value instanceof Literal) return value.text;
  if (nonFinite && NON_FINITE.has(value)) return value;
  if (Array.isArray(value)) return `[${value.map((one) => write(one, nonFinite)).join(", ")}]`;
  if (value && typeof value === "object")
    return `{${Object.entries(value)
      .map(([key, one]) => `${JSON.stringify(key)}: ${write(one, nonFinite)}`)
      .join(", ")}}`;
  return JSON.stringify(value);
}

const LONGEST = 160;

/** An element with the value; a long one is shortened and opens. */
export function show(value, nonFinite = false) {
  const text = write(value, nonFinite);
  const kind = value === ABSENT || value === null ? "nothing" : "";
  if ([...text].length <= LONGEST) return h("code", { class: `value ${kind}`, dir: "ltr" }, text);
  return h(
    "details",
    { class: "long" },
    h("summary", {}, h("code", { class: "value", dir: "ltr" }, `${[...text].slice(0, LONGEST).join("")}…`)),
    h("code", { class: "value", dir: "ltr" }, text),
  );
}
