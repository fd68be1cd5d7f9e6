// Key figures: the five numbers to read first.

import { follow, h, say } from "../dom.js";
import { NONE, count, duration, figure, share } from "../format.js";
import { metricName, metricsIn } from "../metrics.js";

const SAY_EVERY_MS = 30000;

/** The label that performance is measured with: the configured one, or the first. */
export function primaryLabel(labels, config) {
  return labels?.find((one) => one.name === config?.primary_label) ?? labels?.[0];
}

export function mount(section, context) {
  const facts = new Map([
    ["predictions", {}],
    ["coverage", {}],
    ["metric", {}],
    ["drift", {}],
    ["delay", {}],
  ]);
  let saidAt = 0;

  function make() {
    return h(
      "div",
      { class: "figure" },
      h("p", { class: "figure-label" }),
      h("p", { class: "figure-value" }),
      h("p", { class: "figure-more" }),
    );
  }

  function show() {
    follow(
      section,
      [...facts.entries()],
      ([key]) => key,
      make,
      (node, [, fact]) => {
        say(node.children[0], fact.label ?? " ");
        say(node.children[1], fact.value ?? NONE);
        say(node.children[2], fact.more ?? " ");
        node.dataset.tone = fact.tone ?? "";
      },
    );
    // Spoken now and then only: numbers that move every few seconds would never let a screen reader finish.
    if (Date.now() - saidAt > SAY_EVERY_MS && facts.get("predictions").value) {
      saidAt = Date.now();
      say(
        document.getElementById("figures-said"),
        [...facts.values()]
          .filter((fact) => fact.value)
          .map((fact) => `${fact.label}: ${fact.value}`)
          .join(". "),
      );
    }
  }

  context.sources.model.subscribe(({ data }) => {
    const versions = data?.versions ?? [];
    const total =
      data?.predictions ??
      (versions.length ? versions.reduce((sum, one) => sum + (one.predictions ?? 0), 0) : undefined);
    facts.set("predictions", {
      label: "Predictions",
      value: count(total),
      more:
        versions.length > 1
          ? `${versions.length} versions`
          : versions.length
            ? `version ${versions[0].version}`
            : "none yet",
    });
    show();
  });

  context.sources.labels.subscribe(({ data }) => {
    const label = primaryLabel(data?.labels);
    facts.set("coverage", {
      label: "Label coverage",
      value: share(label?.coverage),
      more: label ? `${count(label.pending)} pending` : "no label yet",
    });
    facts.set("delay", {
      label: "Label delay, median",
      value: duration(label?.delay_s?.p50),
      more: label?.delay_s ? `90 % within ${duration(label.delay_s.p90)}` : "no label yet",
    });
    show();
  });

  context.sources.drift.subscribe(({ data }) => {
    const features = (data?.features ?? []).filter((one) => (one.role ?? "feature") === "feature");
    const judged = data?.judged ?? features.filter((one) => one.verdict !== "no_verdict").length;
    const drifted = data?.drifted ?? features.filter((one) => one.verdict === "drift").length;
    facts.set("drift", {
      label: "Features drifting",
      value: judged ? `${count(drifted)} of ${count(judged)}` : NONE,
      tone: judged && drifted ? "bad" : "",
      more: !features.length
        ? "no comparison yet"
        : judged < features.length
          ? `${count(features.length - judged)} without a verdict`
          : "all judged",
    });
    show();
  });

  const heard = new WeakSet();
  context.onVersions.add(() => {
    for (const source of context.performance.values()) {
      if (heard.has(source)) continue;
      heard.add(source);
      source.subscribe(metric);
    }
  });

  // The newest version that has matured rows speaks for the model.
  function metric() {
    const newest = [...context.versions]
      .reverse()
      .find((version) => context.performance.get(version)?.answer?.data?.overall?.matured);
    const overall = newest && context.performance.get(newest).answer.data.overall;
    const chosen = overall && metricsIn([{ overall }])[0];
    if (chosen) {
      const [low, high] = overall.intervals?.[chosen] ?? [];
      facts.set("metric", {
        label: `${metricName(chosen)}, version ${newest}`,
        value: figure(overall.metrics[chosen]),
        more: low === undefined ? `${count(overall.matured)} matured rows` : `${figure(low)} to ${figure(high)}`,
      });
    } else facts.set("metric", { label: "Performance", more: "no matured rows yet" });
    show();
  }
}
