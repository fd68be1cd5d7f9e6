"""What the demo found out, for people and for programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from upshot_server.demo.comparison import Comparison, Estimate
from upshot_server.demo.next_round import ReadingSkew
from upshot_server.demo.upshot_api import Export

SHA_SHOWN = 16


@dataclass
class Report:
    """The whole outcome; filled in as the demo goes."""

    dashboard: str
    data: str
    flights: dict[str, int] = field(default_factory=dict)
    """How many flights each part used."""
    labels: dict[str, Any] = field(default_factory=dict)
    """Upshot's final answer about the label."""
    webhook: dict[str, int] = field(default_factory=dict)
    """What the webhook said of everything sent to it."""
    sdk: dict[str, int] = field(default_factory=dict)
    """The SDK's final counters."""
    export: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    """Rows and held-out AUC of each version."""
    comparison: dict[str, Any] = field(default_factory=dict)
    """Both versions on the rows of the export."""
    comparison_by_upshot: dict[str, Any] = field(default_factory=dict)
    """The same by Upshot itself, from its store."""
    without_live_features: dict[str, Any] = field(default_factory=dict)
    weather_skew: dict[str, Any] = field(default_factory=dict)
    trouble: list[str] = field(default_factory=list)
    """Questions of the live display that Upshot did not answer."""
    seconds: dict[str, float] = field(default_factory=dict)
    """How long each part took."""

    def as_json(self) -> dict[str, Any]:
        """The report as plain values."""
        return asdict(self)


def comparison_as_json(comparison: Comparison) -> dict[str, Any]:
    """The comparison with its verdict."""
    return asdict(comparison) | {"verdict": comparison.verdict}


def print_manifest(console: Console, export: Export) -> None:
    """The manifest of a training set."""
    manifest = export.manifest
    table = Table(title="manifest of the training set", show_header=False, title_justify="left")
    table.add_row("model", str(manifest["model"]))
    table.add_row("predicted", f"{manifest['start']} to {manifest['end']}")
    table.add_row("as of", str(manifest["as_of"]))
    table.add_row("rows", f"{manifest['rows']:,}")
    table.add_row("states", ", ".join(f"{count:,} {state}" for state, count in manifest["states"].items()))
    table.add_row("columns", str(len(manifest["columns"])))
    for file in manifest["files"]:
        table.add_row("file", f"{file['path']}  {file['rows']:,} rows  sha256 {file['sha256'][:SHA_SHOWN]}...")
    table.add_row("sha256", manifest["sha256"])
    table.add_row("folder", str(export.folder))
    console.print(table)


def print_comparison(console: Console, served: Comparison, without_live: Comparison) -> None:
    """Was the next round better?"""
    table = Table(
        title=f"was the next round better? {served.rows:,} flights of October to December, both versions on each"
    )
    table.title_justify = "left"
    table.add_column("")
    table.add_column("AUC")
    table.add_column("95 % interval")
    table.add_row("version 1: January to March, from the archives", *cells(served.first))
    table.add_row("version 2: April to September, from Upshot's export", *cells(served.second))
    table.add_row("difference, paired", f"{served.difference.value:+.4f}", signed_interval(served.difference))
    table.add_row(
        "control: version 2 without its two live features",
        f"{without_live.difference.value:+.4f}",
        signed_interval(without_live.difference),
    )
    console.print(table)
    console.print(f"Version 2 is [bold]{served.verdict}[/]. {explanation(served, without_live)}")


def print_upshots_own(console: Console, answer: dict[str, Any]) -> None:
    """What the dashboard shows of the same question."""
    step = answer["difference"]
    if step["value"] is not None:
        low, high = step["interval"]
        console.print(
            f"Upshot's own page says {step['value']:+.4f} ({low:+.4f} to {high:+.4f}) on {answer['rows']:,} flights."
        )


def explanation(served: Comparison, without_live: Comparison) -> str:
    """What the two comparisons say together."""
    months = {
        "better": "The newer months alone were already better",
        "worse": "The newer months alone were worse (winter is not summer)",
        "undecided": "The newer months alone made no certain difference",
    }[without_live.verdict]
    live = served.second.value - without_live.second.value
    return f"{months}; the two features that only the served log has made {live:+.4f} of AUC."


def print_skew(console: Console, skew: dict[str, ReadingSkew]) -> None:
    """The weather as served against the weather as archived."""
    parts = [
        f"{name} {of.different:.0%}" + ("" if of.mean_difference is None else f" (by {of.mean_difference:.2g})")
        for name, of in skew.items()
    ]
    console.print("Weather as served differs from the archive's for the same hour: " + ", ".join(parts) + ".")


def cells(estimate: Estimate) -> tuple[str, str]:
    """Value and interval."""
    return f"{estimate.value:.4f}", f"{estimate.low:.4f} to {estimate.high:.4f}"


def signed_interval(estimate: Estimate) -> str:
    """Interval of a difference."""
    return f"{estimate.low:+.4f} to {estimate.high:+.4f}"
