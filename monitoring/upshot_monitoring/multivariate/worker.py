"""Compares two samples; run as ``python -m upshot_monitoring.multivariate.worker FOLDER``.

In, from the folder: ``request.json`` (features, methods, least rows), ``reference.parquet`` and ``current.parquet``. Out:
``result.json``, and for each method ``METHOD.parquet``: the very numbers that it learnt from and judged.

scikit-learn takes a second to import and hundreds of MB at work, so it is here and not in the server.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from upshot_monitoring.multivariate.groups import Bools, fewest
from upshot_monitoring.multivariate.learner import TREES
from upshot_monitoring.multivariate.methods import domain_classifier as dc
from upshot_monitoring.multivariate.methods import pca_reconstruction as pca
from upshot_monitoring.multivariate.sides import Sides
from upshot_monitoring.multivariate.table import table_of
from upshot_monitoring.profiles.profile import Floats
from upshot_monitoring.worker_limits import limit_this_process

MAX_MEMORY_BYTES = 4 * 1024**3
"""A comparison of 30 features uses 0.3 GB, of 400 features 0.5 GB."""
MOST_FEATURES = 20
"""Of the importance that is told."""
LEAST_GROUPS = 30
"""Of each side: so many requests or entities, or the variance of what they add up to is not known."""


def compare(folder: Path) -> None:
    """Make the comparison in a folder."""
    work = json.loads((folder / "request.json").read_text("utf-8"))
    reference, current = (pq.read_table(folder / f"{side}.parquet") for side in ("reference", "current"))
    groups = (reference["group"].to_numpy(), current["group"].to_numpy())
    table = table_of(reference, current, work["features"], groups)
    trouble = _trouble(table.sides, work["min_rows"])
    made = {"domain_classifier": _told, "pca_reconstruction": _reconstructed}
    methods = {name: {"reason": trouble} if trouble else made[name](table.sides, folder) for name in work["methods"]}
    result = {
        "features": table.sides.features,
        "columns": table.sides.rows.shape[1],
        "left_out": table.left_out,
        "methods": methods,
    }
    (folder / "result.json").write_text(json.dumps(result), "utf-8")


def _trouble(sides: Sides, least: int) -> str | None:
    now = int(sides.is_current.sum())
    then = len(sides.is_current) - now
    if min(now, then) < least:
        return f"too few rows: {then} in the reference, {now} in the window, {least} needed on both sides"
    if not sides.features:
        return "no feature can be compared"
    if fewest(sides.groups, sides.is_current) < LEAST_GROUPS:
        return f"the rows of a side belong to fewer than {LEAST_GROUPS} requests or entities"
    return None


def _told(sides: Sides, folder: Path) -> dict[str, Any]:
    found = dc.domain_classifier(sides)
    parts = dc.folds_of(sides)
    _write(folder / "domain_classifier.parquet", sides.rows, sides.is_current, "fold", parts)
    return {
        "statistic": found.statistic,
        "p_value": found.p_value,
        "seed": dc.SEED,
        "folds": found.folds,
        "importance": [{"feature": name, "fall": fall} for name, fall in found.importance[:MOST_FEATURES]],
        "trees": TREES,
        "classes": [int(i) for i in np.flatnonzero(sides.is_class)],
    }


def _reconstructed(sides: Sides, folder: Path) -> dict[str, Any]:
    try:
        found = pca.pca_reconstruction(sides)
    except pca.NothingToReconstruct:
        return {
            "reason": "fewer than two columns vary in the reference: there is nothing to reconstruct one from the other"
        }
    learnt = pca.learnt_rows(sides)
    rows, _ = pca.as_numbers(sides, learnt)
    _write(folder / "pca_reconstruction.parquet", rows, sides.is_current, "learnt", learnt)
    return {
        "statistic": found.statistic,
        "p_value": found.p_value,
        "seed": pca.SEED,
        "change": found.change,
        "error_reference": found.error_reference,
        "error_current": found.error_current,
        "components": found.components,
        "columns": found.columns,
        "constant": found.constant[:MOST_FEATURES],
    }


def _write(file: Path, rows: Floats, is_current: Bools, name: str, values: Any) -> None:
    columns = {f"x{i}": rows[:, i] for i in range(rows.shape[1])}
    pq.write_table(pa.table({"current": is_current, name: values, **columns}), file, compression="zstd")


if __name__ == "__main__":
    limit_this_process(MAX_MEMORY_BYTES)
    compare(Path(sys.argv[1]))
