"""The values of the rows that are shown as examples: as they were served, and as they were recomputed."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from typing import Any

from upshot_joiner.store.client import Store
from upshot_joiner.store.keys import Keys, request_key
from upshot_joiner.store.rows import features_of
from upshot_joiner.store.served import ServedTables
from upshot_monitoring.row_skew.rule import OUTCOMES
from upshot_monitoring.row_skew.staged import Staged, StagedFeature
from upshot_monitoring.row_skew.tally import Tally

_SERVED = """
SELECT * FROM {table} FINAL WHERE request_key IN ($keys)
  AND toStartOfHour(predicted_at) IN (
    SELECT toStartOfHour(predicted_at) FROM predictions WHERE model = {{model:String}} AND request_key IN ($keys)
  )
"""
_STAGED = "SELECT * FROM {table} WHERE request_key IN ($keys) ORDER BY n"
_SLOTS = (("json", "other"), *((slot, slot) for slot in ("int", "float", "bool", "str", "ints", "floats")))


def examples(store: Store, served: ServedTables, staged: Staged, model: str, tally: Tally) -> dict[str, dict[str, Any]]:
    """By feature and outcome, the examples with both values."""
    chosen = tally.examples()
    keys = Keys(request_key(one[1]) for _, _, one in chosen)
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    if not keys:
        return found
    shapes, columns = served.shapes(model), served.columns(model)
    rows = store.arrow(_SERVED.format(table=served.table(model)), {"model": model}, keys).to_pylist()
    features = {
        (row["request_id"], row["item_id"], row["model_version"]): features_of(row, shapes[row["shape"]], columns)
        for row in rows
    }
    recomputed: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in store.arrow(_STAGED.format(table=staged.table), None, keys).to_pylist():
        recomputed[row["request_id"], row["item_id"]].append(row)
    by_name = {one.name: one for one in staged.features}
    for name, outcome, (_, request_id, item_id, version) in chosen:
        given = [row for row in recomputed[request_id, item_id] if row["model_version"] in (None, version)]
        of_row = features[request_id, item_id, version]
        found[name].setdefault(OUTCOMES[outcome], []).append(
            {
                "request_id": request_id,
                "item_id": item_id,
                "model_version": version,
                "served": told(of_row[name]) if name in of_row else {"kind": "absent", "value": None},
                "recomputed": _staged_value(by_name[name], given[0]),
            }
        )
    return found


def told(value: Any) -> dict[str, Any]:
    """A value with its kind, as an answer can hold it: JSON has no NaN, no infinities, and large integers lose digits there."""
    if value is None:
        return {"kind": "null", "value": None}
    if isinstance(value, bool):
        return {"kind": "bool", "value": value}
    if isinstance(value, str):
        return {"kind": "str", "value": value[:1000]}
    if isinstance(value, int):
        return {"kind": "int", "value": value if abs(value) < 2**53 else str(value)}
    if isinstance(value, float):
        if math.isnan(value):
            return {"kind": "nan", "value": None}
        return {"kind": "float", "value": value if math.isfinite(value) else str(value)}
    if isinstance(value, list) and value and all(type(one) in (int, float) for one in value):
        kind = "ints" if all(type(one) is int for one in value) else "floats"
        return {"kind": kind, "value": [told(float(one))["value"] if kind == "floats" else one for one in value[:100]]}
    return {"kind": "other", "value": json.dumps(value)[:1000]}


def _staged_value(feature: StagedFeature, row: dict[str, Any]) -> dict[str, Any]:
    absent = feature.columns.get("absent")
    if absent and row[absent]:
        return {"kind": "absent", "value": None}
    for slot, kind in _SLOTS:
        column = feature.columns.get(slot)  # type: ignore[call-overload]
        cell = row[column] if column else None
        if cell is not None and cell != []:
            return {"kind": "other", "value": cell[:1000]} if kind == "other" else told(cell)
    return told(None)
