// Freshness: how old the values of each feature were when they were served.

import { NONE, count, duration, share } from "../format.js";
import { verdict } from "../verdict.js";
import { servingTable } from "./serving-table.js";

const HEADS = [
  ["Feature"],
  ["Verdict"],
  ["Median age", "num"],
  ["99 % within", "num"],
  ["Oldest", "num minor"],
  ["Median before", "num minor"],
  ["Limit", "num minor"],
  ["Older", "num"],
  ["Rows with a time", "num minor"],
];

/** Ages may be below 0: then the value is said to have been computed after the prediction. */
const age = (seconds) =>
  typeof seconds !== "number" ? NONE : seconds < 0 ? `−${duration(-seconds)}` : duration(seconds);

export function mount(section, context) {
  servingTable(section, context, {
    what: "freshness",
    role: "freshness",
    heads: HEADS,
    cells: (one) => [
      verdict(one.verdict, one.reason),
      age(one.age_s?.p50),
      age(one.age_s?.p99),
      age(one.age_s?.max),
      age(one.age_s_before?.p50),
      age(one.max_age_s),
      one.stale_share === null ? NONE : share(one.stale_share),
      typeof one.with_time_share === "number" ? `${share(one.with_time_share)} of ${count(one.rows)}` : NONE,
    ],
    about: (data) => {
      const stale = data.features.filter((one) => one.verdict === "drift").length;
      return stale ? `${count(stale)} of ${count(data.features.length)} features are not as fresh as they should be.` : "";
    },
  });
}
