"""Writes what an Evidently report is made from: samples of both sides, and the scores over all rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from upshot_joiner.config import ConfigStore
from upshot_joiner.store.client import Store
from upshot_joiner.store.served import ServedTables
from upshot_monitoring.drift.answers import Drift
from upshot_monitoring.drift.asked import asked_of
from upshot_monitoring.drift.baselines import Baselines
from upshot_monitoring.drift.registry import NUMERIC
from upshot_monitoring.profiles.columns import served_columns
from upshot_monitoring.profiles.read import Window
from upshot_monitoring.profiles.references import Reference, References
from upshot_monitoring.reports.reports import ReportFailed
from upshot_monitoring.reports.sample import sample_reference, sample_served


class Preparation:
    """Prepares reports."""

    def __init__(
        self,
        store: Store,
        served: ServedTables,
        configs: ConfigStore,
        references: References,
        drift: Drift,
        baselines: Baselines,
    ) -> None:
        self._store = store
        self._served = served
        self._configs = configs
        self._references = references
        self._drift = drift
        self._baselines = baselines

    def prepare(self, model: str, request: dict[str, Any], folder: Path) -> dict[str, Any]:
        """Write ``request.json``, ``reference.parquet`` and ``current.parquet``; returns what the report is about.

        Only features with a statistic are in it: Evidently fails as a whole on a column that is empty. The others are named.
        """
        asked = asked_of(request)
        answer = self._drift.drift(model, asked)
        table = self._served.table(model)
        if table is None:
            raise ReportFailed("nothing was served by this model yet")
        window = self._baselines.window(model, asked)
        _, base = self._baselines.chosen(window, answer["baseline"])
        columns = {
            column.name: column
            for column in served_columns(model, self._served, self._configs.get(model))
            if column.role == "feature"
        }
        rows = [
            row
            for row in answer["features"]
            if row["role"] == "feature" and row["statistic"] is not None and row["feature"] in columns
        ]
        if isinstance(base, Reference):
            sources = _source_names(self._references.path(base))
            rows = [row for row in rows if row["feature"] in sources]
        if not rows or base is None:
            raise ReportFailed(answer["note"] or "no feature has enough rows on both sides")
        names = [row["feature"] for row in rows]
        chosen = [columns[name] for name in names]
        current = sample_served(self._store, table, window, chosen, names, folder / "current.parquet")
        if isinstance(base, Window):
            reference = sample_served(self._store, table, base, chosen, names, folder / "reference.parquet")
        else:
            reference = sample_reference(
                self._references.path(base), [sources[name] for name in names], names, folder / "reference.parquet"
            )
        work = {
            "title": f"{model}: {window.start:%Y-%m-%d %H:%M} to {window.end:%Y-%m-%d %H:%M} UTC",
            "columns": [
                {
                    "name": row["feature"],
                    "kind": "numeric" if row["kind"] in NUMERIC else "categorical",
                    "method": row["method"],
                    "threshold": row["threshold"],
                    "score": row["statistic"],
                    "drifted": row["verdict"] == "drift",
                }
                for row in rows
            ],
        }
        (folder / "request.json").write_text(json.dumps(work), "utf-8")
        return {
            "baseline": answer["baseline"],
            "baseline_detail": answer["baseline_detail"],
            "window": answer["window"],
            "version": answer["version"],
            "sampled_rows": {"reference": reference, "current": current},
            "features": rows,
            "left_out": [
                {"feature": row["feature"], "reason": row["reason"]}
                for row in answer["features"]
                if row["role"] == "feature" and row not in rows
            ],
        }


def _source_names(parquet: Path) -> dict[str, str]:
    """Which column of an uploaded file holds which feature."""
    names = pq.read_schema(parquet).names
    return {name.removeprefix("feature__"): name for name in names}
