// Charts by plotly.js, which is fetched only after the page stands, so that numbers never wait for it.

import { h } from "./dom.js";

let loading = null;
function library() {
  loading ??= new Promise((resolve, reject) => {
    const script = h("script", {
      src: document.body.dataset.plotly,
      onload: () => resolve(window.Plotly),
      onerror: reject,
    });
    document.head.append(script);
  });
  return loading;
}

/** Text for plotly, which reads tags, entities and %{…} in any text: what comes from a request must not be read so. */
export function plain(text, longest = 48) {
  const letters = [...String(text).replaceAll(/\s/g, " ")];
  const shown = letters.length > longest ? `${letters.slice(0, longest - 1).join("")}…` : letters.join("");
  return shown.replaceAll(/[&<>%{}$[\]]/g, (letter) => `&#${letter.codePointAt(0)};`);
}

/** A colour of the style sheet as it is now (light or dark). */
export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** The same colour, see-through. */
export function faint(hex, alpha) {
  const n = Number.parseInt(hex.slice(1), 16);
  return `rgba(${n >> 16}, ${(n >> 8) & 255}, ${n & 255}, ${alpha})`;
}

const scheme = matchMedia("(prefers-color-scheme: dark)");
const shown = new Set();
scheme.addEventListener("change", () => {
  for (const chart of shown) chart.render();
});

const LEGEND = {
  orientation: "h",
  x: 0,
  xanchor: "left",
  y: 1.02,
  yanchor: "bottom",
  font: { size: 12 },
  itemclick: "toggle",
  bgcolor: "rgba(0,0,0,0)",
};

function house(layout) {
  const axis = {
    gridcolor: colour("--grid"),
    linecolor: colour("--line"),
    zeroline: false,
    ticks: "",
    automargin: true,
    tickfont: { size: 11, color: colour("--muted") },
    title: { font: { size: 11, color: colour("--muted") }, standoff: 8 },
  };
  const axes = { xaxis: {}, yaxis: {} };
  for (const key of Object.keys(layout)) if (/^[xy]axis\d*$/.test(key)) axes[key] = layout[key];
  const dressed = {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: 44, r: 12, t: 28, b: 30 },
    hovermode: "closest",
    font: {
      family: 'system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif',
      size: 12,
      color: colour("--ink"),
    },
    hoverlabel: {
      bgcolor: colour("--card"),
      bordercolor: colour("--line"),
      font: { size: 12, color: colour("--ink") },
      align: "left",
      namelength: -1,
    },
    showlegend: false,
    uirevision: "kept",
    bargap: 0.12,
    dragmode: "zoom",
    ...layout,
  };
  dressed.legend = { ...LEGEND, ...layout.legend };
  for (const [key, own] of Object.entries(axes)) {
    const base = key[0] === "x" ? { ...axis, showgrid: false, showline: true } : { ...axis, showline: false };
    dressed[key] = { ...base, ...own, title: { ...base.title, ...(own.title ?? {}) } };
  }
  return dressed;
}

/**
 * One chart. `draw(build, {summary, head, rows})`: `build()` returns plotly's `{data, layout}` (called again when light turns
 * dark); `summary` is what a screen reader says; `head` and `rows()` are the same numbers as a table, made when it is opened.
 */
export class Chart {
  constructor(host, { height = 240 } = {}) {
    this.plot = h("div", { class: "plot", role: "img", style: { height: `${height}px` } });
    this.table = h("div", { class: "scroll numbers" });
    this.details = h(
      "details",
      { class: "as-table", ontoggle: () => this.tabulate() },
      h("summary", {}, "Show as a table"),
      this.table,
    );
    this.figure = h("figure", { class: "chart" }, this.plot, this.details);
    this.holding = false;
    this.plot.addEventListener("pointerdown", () => {
      this.holding = true;
    });
    this.release = () => {
      if (this.holding) {
        this.holding = false;
        this.render();
      }
    };
    window.addEventListener("pointerup", this.release);
    host.append(this.figure);
    shown.add(this);
  }

  draw(build, { summary = "", head = [], rows = () => [] } = {}) {
    Object.assign(this, { build, head, rows });
    this.plot.setAttribute("aria-label", summary);
    this.render();
    this.tabulate();
  }

  async render() {
    if (!this.build || this.holding) return;
    let plotly;
    try {
      plotly = await library();
    } catch {
      this.plot.textContent = "The chart library did not load; the table below has the numbers.";
      return;
    }
    if (!this.build || !this.plot.isConnected) return;
    const { data, layout } = this.build();
    await plotly.react(this.plot, data, house(layout ?? {}), {
      displayModeBar: false,
      responsive: true,
      showTips: false,
      doubleClick: "reset",
    });
  }

  tabulate() {
    if (!this.details.open || !this.rows) return;
    const at = this.table.scrollTop;
    this.table.replaceChildren(
      h(
        "table",
        { class: "data small" },
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            this.head.map((word) => h("th", { scope: "col" }, word)),
          ),
        ),
        h(
          "tbody",
          {},
          this.rows().map((row) =>
            h(
              "tr",
              {},
              row.map((cell) => h("td", {}, cell)),
            ),
          ),
        ),
      ),
    );
    this.table.scrollTop = at;
  }

  stop() {
    this.build = null;
    shown.delete(this);
    window.removeEventListener("pointerup", this.release);
    window.Plotly?.purge(this.plot);
    this.figure.remove();
  }
}
