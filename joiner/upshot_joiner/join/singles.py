"""The fold of what has been said once: most labels of most models are one statement, and need no fold at all.

Of a large batch, both sides are read once, as they lie in the store, and put together here: reading is what costs, and a join of
columns in memory costs next to nothing. Outcomes that rest on one ``set``, under rules that pass a single value through, are taken
as they are; only the requests of the rest go through ``fold.sql``, which costs ten times as much a row. A property test holds
both to ``rule.py``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from upshot_joiner.config import LabelConfig, ModelConfig
from upshot_joiner.join import fold, orphans
from upshot_joiner.join.few import SCHEMA, Folded
from upshot_joiner.store.client import Store
from upshot_joiner.store.keys import Keys, key_number

_EVENTS = f"""
SELECT request_key, request_id, item_id, toString(name) AS name, label_id, toString(model) AS of_model,
  op = 'retract' AS retracts, toString(value_kind) AS value_kind, value_number, value_text, observed_at, received_at
FROM ({fold.EVENTS_OF_BATCH})
"""
_SPINE = f"""
SELECT request_key, request_id, item_id, toString(model) AS model, toString(model_version) AS model_version, predicted_at
FROM ({fold.SPINE_OF_BATCH})
"""
_ITEM = ["request_key", "request_id", "item_id"]


def passes_through(rules: LabelConfig) -> bool:
    """Whether a single value is the outcome, whatever it is and whenever it was observed."""
    return rules.combine in ("last", "first", "majority") and rules.late == "accept"


def fold_batch(
    store: Store,
    keys: Keys,
    config_of: Callable[[str], ModelConfig],
    fold_rest: Callable[[Keys], pa.Table],
) -> Folded:
    """Fold a large batch of keys; ``fold_rest`` folds those that need it.

    Of the label events, only those that the list of orphans is about are given.
    """
    events = store.arrow(_EVENTS, keys=keys)
    if events.num_rows == 0:  # predictions that nobody has labelled yet: most groups are that
        return Folded(SCHEMA.empty_table(), [])
    events = events.append_column("row", pa.array(np.arange(events.num_rows)))
    matched = events.join(store.arrow(_SPINE, keys=keys), _ITEM, join_type="inner")
    matched = matched.filter(pc.or_(pc.equal(matched["of_model"], ""), pc.equal(matched["of_model"], matched["model"])))
    waits = pc.invert(pc.is_in(events["row"], value_set=matched["row"].combine_chunks()))
    seen = orphans.to_be_settled(store, events, waits, keys)
    rest = Keys(map(key_number, {*_said_more_than_once(events), *_by_other_rules(matched, config_of)}))
    if not rest:
        return Folded(_as_outcomes(matched), seen)
    folded = fold_rest(rest)
    # A request may have both kinds; the fold gave all of its outcomes, so only those of other requests are taken from here.
    of_rest = rest.column().cast(matched["request_key"].type)
    apart = matched.filter(pc.invert(pc.is_in(matched["request_key"], value_set=of_rest)))
    return Folded(pa.concat_tables([_as_outcomes(apart), folded.select(SCHEMA.names).cast(SCHEMA)]), seen)


def _said_more_than_once(events: pa.Table) -> list[bytes]:
    """Keys of requests of which something was said twice, or taken back."""
    said = events.group_by([*_ITEM, "name"], use_threads=False).aggregate([("row", "count"), ("retracts", "max")])
    once = pc.and_(pc.equal(said["row_count"], 1), pc.equal(said["retracts_max"], 0))
    return list(said["request_key"].filter(pc.invert(once)).to_pylist())


def _by_other_rules(matched: pa.Table, config_of: Callable[[str], ModelConfig]) -> list[bytes]:
    """Keys of requests with a label whose rules do not pass a single value through."""
    found: list[bytes] = []
    for pair in matched.group_by(["model", "name"]).aggregate([]).to_pylist():
        model, name = pair["model"], pair["name"]
        if not passes_through(config_of(model).label(name)):
            of_pair = pc.and_(pc.equal(matched["model"], model), pc.equal(matched["name"], name))
            found += matched["request_key"].filter(of_pair).to_pylist()
    return found


def _as_outcomes(matched: pa.Table) -> pa.Table:
    rows = matched.num_rows
    columns = {
        **{name: matched[name] for name in SCHEMA.names if name in matched.column_names},
        "state": pa.repeat(pa.scalar("labelled", pa.string()), rows),
        "first_received_at": matched["received_at"],
        "events": pa.repeat(pa.scalar(1, pa.uint64()), rows),
    }
    return pa.table({name: columns[name] for name in SCHEMA.names}).cast(SCHEMA)
