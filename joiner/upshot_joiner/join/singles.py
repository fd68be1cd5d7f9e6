"""The fold of what has been said once: most labels of most models are one statement, and need no fold at all.

Of a large batch, those outcomes that rest on one ``set`` and on rules that pass a single value through are taken from the join as
they are; only the requests of the rest go through ``fold.sql``, which costs ten times as much a row. A property test holds both
to ``rule.py``.
"""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from upshot_joiner.config import LabelConfig, ModelConfig
from upshot_joiner.join import fold
from upshot_joiner.store.client import Store
from upshot_joiner.store.keys import Keys, key_number

_MATCHED = f"""
SELECT
  toString(p.model) AS model, toString(e.name) AS name, p.predicted_at AS predicted_at, p.request_key AS request_key,
  p.request_id AS request_id, toString(p.model_version) AS model_version, p.item_id AS item_id,
  any(toString(e.value_kind)) AS value_kind, any(e.value_number) AS value_number, any(e.value_text) AS value_text,
  any(e.observed_at) AS observed_at, max(e.received_at) AS received_at, min(e.received_at) AS first_received_at,
  count() AS events, countIf(e.op = 'retract') AS retractions
FROM ({fold.EVENTS_OF_BATCH}) AS e
INNER JOIN ({fold.SPINE_OF_BATCH}) AS p
  ON e.request_key = p.request_key AND e.request_id = p.request_id AND e.item_id = p.item_id
WHERE e.model = '' OR e.model = p.model
GROUP BY model, name, predicted_at, request_key, request_id, model_version, item_id
"""


def passes_through(rules: LabelConfig) -> bool:
    """Whether a single value is the outcome, whatever it is and whenever it was observed."""
    return rules.combine in ("last", "first", "majority") and rules.late == "accept"


def fold_batch(
    store: Store,
    keys: Keys,
    config_of: Callable[[str], ModelConfig],
    fold_rest: Callable[[Keys], pa.Table],
) -> pa.Table:
    """Outcomes of a large batch of keys, as :func:`fold.fold` gives them; ``fold_rest`` folds the keys that need it."""
    matched = store.arrow(_MATCHED, keys=keys)
    single = pc.and_(pc.equal(matched["events"], 1), pc.equal(matched["retractions"], 0))
    pairs = matched.select(["model", "name"]).group_by(["model", "name"]).aggregate([]).to_pylist()
    for model, name in {(pair["model"], pair["name"]) for pair in pairs}:
        if not passes_through(config_of(model).label(name)):
            of_pair = pc.and_(pc.equal(matched["model"], model), pc.equal(matched["name"], name))
            single = pc.and_(single, pc.invert(of_pair))
    rest = Keys(key_number(key.as_py()) for key in pc.unique(matched["request_key"].filter(pc.invert(single))))
    outcomes = _as_outcomes(matched.filter(single))
    if not rest.numbers:
        return outcomes
    folded = fold_rest(rest)
    # A request may have both kinds; the fold gave all of its outcomes, so only those of other requests are taken from here.
    apart = pc.invert(pc.is_in(outcomes["request_key"], value_set=rest.column().cast(outcomes["request_key"].type)))
    return pa.concat_tables([outcomes.filter(apart).select(folded.column_names).cast(folded.schema), folded])


def _as_outcomes(rows: pa.Table) -> pa.Table:
    states = pa.repeat(pa.scalar("labelled", pa.string()), rows.num_rows)
    return rows.drop_columns(["retractions"]).append_column("state", states)
