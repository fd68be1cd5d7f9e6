"""One comparison from beginning to end: look at the table, stage it, compare it range by range, tell."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from upshot_joiner.clock import to_micros
from upshot_joiner.errors import Problem
from upshot_joiner.store.client import Store
from upshot_joiner.store.served import ServedTables
from upshot_monitoring.row_skew.comparison import Comparison
from upshot_monitoring.row_skew.examples import examples
from upshot_monitoring.row_skew.rule import Rule
from upshot_monitoring.row_skew.staged import stage
from upshot_monitoring.row_skew.table import Form, RecomputedTable
from upshot_monitoring.row_skew.tally import Tally

STAGING = "staged_recomputed_"
_NEWEST = "SELECT max(received_at), count() FROM predictions WHERE model = {model:String}"


def staging_table(id_: str) -> str:
    """The name of the staging table of a comparison; ``id_`` is one that we made."""
    if not re.fullmatch(r"[0-9a-f]{32}", id_):
        raise ValueError("an ID of a comparison has 32 hexadecimal digits")
    return f"{STAGING}{id_}"


def compare(
    store: Store,
    served: ServedTables,
    model: str,
    file: Path,
    form: Form,
    asked: Rule,
    *,
    id_: str,
    version: str | None = None,
    as_of_us: int | None = None,
    progress: Callable[[float], None] = lambda _: None,
) -> dict[str, Any]:
    """Compare a table of recomputed values with what was served. The answer depends on the table, the rule, and what had been
    received by ``as_of_us`` (microseconds; by default, all that is stored now).

    Raises a 422 :class:`Problem` for a table that cannot be read, and for a model that has served nothing.
    """
    if store.is_shared:
        served.refresh()
    table = served.table(model)
    [(newest, predictions)] = store.query(_NEWEST, {"model": model})
    if table is None or not predictions:
        raise Problem(422, "nothing_served", "Nothing was served by this model yet.")
    as_of_us = to_micros(newest) if as_of_us is None else as_of_us
    sent = RecomputedTable.open(file, form)
    features = {one.name: one for one in served.features(model)}
    if form == "csv":
        asked = replace(asked, same_numbers=True, same_blanks=True)
    staging = staging_table(id_)
    try:
        kinds = {name: set(one.columns) for name, one in features.items()}
        staged = stage(store, sent, staging, kinds, lambda rows: progress(0.5 * rows / (rows + 1_000_000)))
        comparison = Comparison(
            *(staged, table, features, served.shapes(model), asked), model=model, as_of_us=as_of_us, version=version
        )
        tally = Tally([one.name for one in staged.features], asked)
        for shard in store.shards:
            for found in comparison.ranges(shard):
                tally.add(found)
                progress(0.5 + 0.5 * tally.rows / max(1, staged.rows))
        answer = tally.describe()
        shown = examples(store, served, staged, model, tally)
    finally:
        store.command(f"DROP TABLE IF EXISTS {staging} SYNC")
    for one in answer["features"]:
        one["examples"] = shown.get(one["feature"], {})
    answer["rows"] = {"given": staged.rows, "without_request_id": staged.without_request_id, **{
        name: count for name, count in answer["rows"].items() if name != "given"
    }}  # fmt: skip
    return {
        **answer,
        "not_recomputed": sorted(set(features) - {one.name for one in staged.features}),
        "ignored": sent.ignored,
        "as_of": as_of_us,
        "version": version,
        "allowed": asked.allowed,
        "same_numbers": asked.same_numbers,
    }
