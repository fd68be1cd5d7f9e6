"""Makes one Evidently report. The only file that knows Evidently; run as ``python -m upshot_monitoring.reports.evidently_worker
FOLDER``.

In, from the folder: ``request.json`` (columns with kind, method, threshold and the score over all rows), ``reference.parquet`` and
``current.parquet`` (samples). Out: ``report.html``, ``report.json``.

Importing Evidently takes 3 to 9 seconds and 280 MB, and its default method turns from a distance into a p-value at 1,000
reference rows. So it draws the charts from samples in this process, and every score is given to it, with its method pinned.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

# Before Evidently is imported: it would report its use to its maker.
os.environ["DO_NOT_TRACK"] = "1"

import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.legacy.calculations.stattests.registry import StatTest, register_stattest
from evidently.legacy.core import ColumnType
from evidently.presets import DataDriftPreset

from upshot_monitoring.reports.shown import shown
from upshot_monitoring.worker_limits import limit_this_process

MAX_MEMORY_BYTES = 8 * 1024**3
"""A usual report uses 0.4 GB."""


def make(folder: Path) -> None:
    """Make the report in a folder. Raises whatever Evidently raises."""
    request = json.loads((folder / "request.json").read_text("utf-8"))
    columns: list[dict[str, Any]] = [{**column, "name": shown(column["name"])} for column in request["columns"]]
    scores = {column["name"]: column for column in columns}
    for method in {column["method"] for column in columns}:
        _register(method, scores)
    numeric = [column["name"] for column in columns if column["kind"] == "numeric"]
    classes = [column["name"] for column in columns if column["kind"] != "numeric"]
    definition = DataDefinition(numerical_columns=numeric, categorical_columns=classes)
    current, reference = (_read(folder / name, numeric, classes) for name in ("current.parquet", "reference.parquet"))
    preset = DataDriftPreset(
        columns=[column["name"] for column in columns],
        per_column_method={column["name"]: _name(column["method"]) for column in columns},
        per_column_threshold={column["name"]: column["threshold"] for column in columns},
    )
    report = Report([preset], include_tests=True)
    snapshot = report.run(
        Dataset.from_pandas(current, data_definition=definition),
        Dataset.from_pandas(reference, data_definition=definition),
        name=shown(request["title"]),
    )
    snapshot.save_html(str(folder / "report.html"))
    (folder / "report.json").write_text(json.dumps(snapshot.dict(), default=str), "utf-8")


def _name(method: str) -> str:
    return f"upshot_{method}"


def _register(method: str, scores: dict[str, dict[str, Any]]) -> None:
    """A statistical test that computes nothing: it gives back the score over all rows."""

    def known(
        reference: pd.Series[Any], current: pd.Series[Any], feature_type: ColumnType, threshold: float
    ) -> tuple[float, bool]:
        del current, feature_type, threshold
        column = scores[str(reference.name)]
        return float(column["score"]), bool(column["drifted"])

    register_stattest(
        StatTest(
            name=_name(method),
            display_name=f"{method.replace('_', ' ')}, all rows",
            allowed_feature_types=[ColumnType.Numerical, ColumnType.Categorical],
            default_threshold=0.1,
        ),
        known,
    )


def _read(file: Path, numeric: list[str], classes: list[str]) -> pd.DataFrame:
    """A sample with plain float and object columns: Evidently fails on pandas' nullable types."""
    frame = pd.read_parquet(file).rename(columns=shown)
    for name in numeric:
        frame[name] = pd.to_numeric(frame[name]).astype("float64")
    for name in classes:
        frame[name] = frame[name].astype(object).map(shown, na_action="ignore")
    return frame


if __name__ == "__main__":
    limit_this_process(MAX_MEMORY_BYTES)
    make(Path(sys.argv[1]))
