"""Writes what a comparison is made from: samples of both sides, with a number for rows that belong together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from upshot.errors import UpshotError
from upshot_joiner.config import ConfigStore
from upshot_joiner.store.client import Store
from upshot_joiner.store.served import ServedTables
from upshot_monitoring import sampled
from upshot_monitoring.drift.baselines import NO_REFERENCE, Baselines, detail_of
from upshot_monitoring.multivariate.grouping import groups_of
from upshot_monitoring.multivariate.groups import Ints
from upshot_monitoring.multivariate.question import Question
from upshot_monitoring.multivariate.values import PARTS, Sample, column_of, of_reference, served_expressions
from upshot_monitoring.profiles.columns import Column, served_columns
from upshot_monitoring.profiles.read import Window
from upshot_monitoring.profiles.references import Reference, References

_IDENTITY = ("request_id", "mapKeys(entities)", "mapValues(entities)")


class CannotCompare(UpshotError):
    """There is nothing to compare; the message says why, for the person who asked."""


class Preparation:
    """Prepares comparisons."""

    def __init__(
        self, store: Store, served: ServedTables, configs: ConfigStore, references: References, baselines: Baselines
    ) -> None:
        self._store = store
        self._served = served
        self._configs = configs
        self._references = references
        self._baselines = baselines

    def prepare(self, model: str, question: Question, folder: Path) -> dict[str, Any]:
        """Write ``request.json``, ``reference.parquet`` and ``current.parquet``; returns what the comparison is about."""
        table = self._served.table(model)
        if table is None:
            raise CannotCompare("nothing was served by this model yet")
        config = self._configs.get(model)
        window = self._baselines.window(model, question.asked)
        kind, base, note = self._baselines.chosen_or_earlier(window, question.asked.baseline)
        if base is None:
            raise CannotCompare(note or NO_REFERENCE)
        columns = {one.name: one for one in served_columns(model, self._served, config) if one.role == "feature"}
        in_reference = base.features if isinstance(base, Reference) else list(columns)
        names = sorted(set(columns) & set(in_reference) - question.without)
        left_out = [
            *({"feature": one, "reason": "new: not in the reference"} for one in sorted(set(columns) - set(in_reference))),
            *({"feature": one, "reason": "in the reference, and never served"} for one in sorted(set(in_reference) - set(columns))),
            *({"feature": one, "reason": "it was asked to be left out"} for one in sorted(question.without & set(columns))),
        ]  # fmt: skip
        if not names:
            raise CannotCompare("no feature is on both sides")
        if isinstance(base, Reference):
            file = self._references.path(base)
            if not file.is_file():
                raise CannotCompare("the rows of the reference are not on this server: another one took its upload")
            then = of_reference(file, names, base.features, config, question.rows)
        else:
            then = self._sample(table, base, [columns[name] for name in names], question.rows)
        now = self._sample(table, window, [columns[name] for name in names], question.rows)
        groups_then, groups_now, grouped_by = groups_of(then.groups, now.groups)
        for side, sample, groups in (("reference", then, groups_then), ("current", now, groups_now)):
            _write(folder / f"{side}.parquet", sample.table, groups)
        work = {
            "features": names,
            "methods": list(question.methods),
            "min_rows": config.drift.min_rows,
        }
        (folder / "request.json").write_text(json.dumps(work), "utf-8")
        return {
            "baseline": kind,
            "baseline_detail": detail_of(base),
            "window": {"start": window.start, "end": window.end},
            "version": window.version,
            "note": note,
            "rows": {"reference": len(then.groups), "current": len(now.groups)},
            "groups": {
                "by": grouped_by,
                "reference": len(np.unique(groups_then)),
                "current": len(np.unique(groups_now)),
            },
            "left_out": left_out,
        }

    def _sample(self, table: str, window: Window, columns: list[Column], rows: int) -> Sample:
        parts = [(part, i, sql) for i, column in enumerate(columns) for part, sql in served_expressions(column).items()]
        found = sampled.of_served(self._store, table, window, [*_IDENTITY, *(sql for *_, sql in parts)], rows)
        values = {
            column_of(part, i): found[f"c{at + len(_IDENTITY)}"].cast(PARTS[part])
            for at, (part, i, _) in enumerate(parts)
        }
        identities = [found[f"c{at}"].to_pylist() for at in range(len(_IDENTITY))]
        groups = [
            {"request": request, **{f"entity {kind}": value for kind, value in zip(kinds, ids, strict=True)}}
            for request, kinds, ids in zip(*identities, strict=True)
        ]
        return Sample(pa.table(values), groups)


def _write(file: Path, table: pa.Table, groups: Ints) -> None:
    pq.write_table(
        table.append_column("group", pa.array(groups)) if table.num_columns else pa.table({"group": groups}), file
    )
