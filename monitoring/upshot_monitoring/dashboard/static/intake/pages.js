// A list of the API page by page: the first page follows what happens, further ones are fetched once and added below.

import { h, say } from "../dom.js";
import { count } from "../format.js";
import { Source } from "../live.js";

/**
 * `address(cursor)` is where a page is; `show(entries, first)` is called with all entries so far and the first page's answer
 * (null when it cannot be read) whenever either changes. `kind` is the name of the list in an answer.
 */
export class Pages {
  constructor(address, kind, show) {
    Object.assign(this, { address, kind, show, first: null, further: [], next: null, status: 0 });
    this.more = h("button", { type: "button", class: "quiet more", hidden: true, onclick: () => this.load() }, "Show more");
    this.source = new Source(address(""), { periodMs: 5000 }).subscribe(({ data, status }) => this.came(data, status));
  }

  /** Ask for another list (a filter was chosen). */
  turnTo(address) {
    Object.assign(this, { address, further: [], next: null });
    this.source.turnTo(address(""));
  }

  came(data, status) {
    Object.assign(this, { first: data, status });
    // Once somebody turned a page, the list stands still: what comes above would push it down.
    if (!this.further.length) this.next = data?.next ?? null;
    this.draw();
  }

  async load() {
    const address = this.address;
    const response = await fetch(address(this.next), { headers: { accept: "application/json" } }).catch(() => null);
    if (!response?.ok || address !== this.address) return;
    const data = await response.json();
    if (!this.further.length) this.standing = this.first[this.kind];
    this.further.push(...data[this.kind]);
    this.next = data.next;
    this.draw();
  }

  draw() {
    const entries = this.further.length ? [...this.standing, ...this.further] : (this.first?.[this.kind] ?? []);
    this.more.hidden = !this.next;
    if (this.first) say(this.more, `Show more: ${count(entries.length)} of ${count(this.first.total)} are shown`);
    this.show(entries, this.first, this.status);
  }
}

export const unreadable = (status) => (status === 0 ? "The server does not answer; trying again." : "This list cannot be read just now.");
