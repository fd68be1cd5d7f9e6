"""Which predictions an entity has: an index by entity, for the types of entity that labels have named.

Most stores never see a label that names an entity, and most entities of a prediction are never labelled. So a type is indexed from
the first label on that names it; what was stored before is filled in then, once (:meth:`EntityTypes.fill`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence

import pyarrow as pa

from upshot_joiner.clock import Stamper, to_micros
from upshot_joiner.intake.check import CheckedLabel, CheckedPrediction
from upshot_joiner.store.client import Store
from upshot_joiner.store.keys import entity_key, key_column
from upshot_joiner.store.rows import TIME, first_wins, label_block

_KEY = """
reinterpretAsUInt128(substring(SHA256(concat(toString(length(entity_type)), ':', entity_type, entity_id)), 1, 16))
"""
"""``keys.entity_key`` in SQL, of the columns ``entity_type`` and ``entity_id``."""
_INDEX = f"""
INSERT INTO entity_predictions
  (entity_key, predicted_at, model, of_request, request_id, model_version, item_id, received_at, first_wins)
SELECT {_KEY}, predicted_at, {{model:String}}, request_key, request_id, model_version, item_id, received_at, first_wins
FROM (
  SELECT *, toString(entity.1) AS entity_type, entity.2 AS entity_id
  FROM (%s) ARRAY JOIN arrayZip(mapKeys(entities), mapValues(entities)) AS entity
)
WHERE entity_type IN {{types:Array(String)}} AND entity_id != ''
"""


class EntityTypes:
    """The types of entity that labels have named. Every method may be called from any thread."""

    def __init__(self, store: Store, stamper: Stamper) -> None:
        self._store = store
        self._stamper = stamper
        self._lock = threading.Lock()
        self._filled: dict[str, bool] = {}
        self.refresh()

    @property
    def any(self) -> bool:
        """Whether a label ever named an entity: where none did, nobody has to look for such labels."""
        return bool(self._filled)

    def refresh(self) -> None:
        """Learn the types that other processes got to know."""
        with self._lock:
            found = self._store.shards[0].query("SELECT entity_type, filled FROM entity_types FINAL")
            self._filled = {name: bool(filled) for name, filled in found}

    def known(self, names: Iterable[str]) -> None:
        """Index these types from now on."""
        new = set(names) - self._filled.keys()
        if new:
            self._note(sorted(new), filled=False)

    def unfilled(self) -> list[str]:
        """Types whose earlier predictions are not indexed yet."""
        return sorted(name for name, filled in self._filled.items() if not filled)

    def fill(self, name: str, tables: Iterable[tuple[str, str]]) -> None:
        """Index the stored predictions of a type; ``tables`` are models with their typed tables. Harmless when it is done twice."""
        for model, table in tables:
            self._store.command(_INDEX % f"SELECT * FROM {table} FINAL", {"model": model, "types": [name]})
        self._note([name], filled=True)

    def index_again(self, model: str, rows: str, params: dict[str, object]) -> None:
        """Index some rows of a model's typed table anew; ``rows`` selects them."""
        if self._filled:
            self._store.command(_INDEX % rows, {**params, "model": model, "types": sorted(self._filled)})

    def keys(self, predictions: Iterable[CheckedPrediction]) -> list[tuple[int, CheckedPrediction]]:
        """The indexed entities of predictions: a key for each, with its prediction."""
        filled = self._filled
        if not filled:
            return []
        return [
            (entity_key(name, id_), one)
            for one in predictions
            if one.event.entities
            for name, id_ in one.event.entities.items()
            if name in filled and id_
        ]

    def _note(self, names: Sequence[str], *, filled: bool) -> None:
        with self._lock:
            version = to_micros(self._stamper.next())
            self._store.insert(
                "entity_types",
                pa.table(
                    {
                        "entity_type": list(names),
                        "filled": pa.array([int(filled)] * len(names), pa.uint8()),
                        "version": pa.array([version] * len(names), pa.uint64()),
                    }
                ),
            )
            self._filled = {**self._filled, **dict.fromkeys(names, filled)}


def index_block(keyed: Sequence[tuple[int, CheckedPrediction]], received_us: int) -> pa.Table:
    """The rows of the index for predictions, each with the key of an entity."""
    predictions = [one for _, one in keyed]
    rows = len(keyed)
    moments = [received_us if one.predicted_us is None else one.predicted_us for one in predictions]
    return pa.table(
        {
            "entity_key": key_column([key for key, _ in keyed]),
            "predicted_at": pa.array(moments, pa.int64()).cast(TIME),
            "model": pa.array([one.event.model for one in predictions], pa.string()),
            "of_request": key_column([one.key for one in predictions]),
            "request_id": pa.array([one.event.request_id for one in predictions], pa.string()),
            "model_version": pa.array([one.event.model_version for one in predictions], pa.string()),
            "item_id": pa.array([one.event.item_id for one in predictions], pa.string()),
            "received_at": pa.array([received_us] * rows, pa.int64()).cast(TIME),
            "first_wins": pa.array([first_wins(received_us)] * rows, pa.uint64()),
        }
    )


def entity_label_block(labels: Sequence[CheckedLabel], received_us: int) -> pa.Table:
    """The rows of the ledger of labels that name an entity."""
    block = label_block(labels, received_us).drop_columns(["request_id"])
    entities = [next(iter((one.event.entity or {"": ""}).items())) for one in labels]
    block = block.rename_columns(["entity_key" if name == "request_key" else name for name in block.column_names])
    block = block.append_column("entity_type", pa.array([name for name, _ in entities], pa.string()))
    return block.append_column("entity_id", pa.array([id_ for _, id_ in entities], pa.string()))
