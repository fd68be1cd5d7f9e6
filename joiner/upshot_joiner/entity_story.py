"""Why a label that named an entity is where it is: from the side of the request, and from the side of the entity."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from upshot_joiner.config import ConfigStore
from upshot_joiner.errors import Problem
from upshot_joiner.intake.check import scalar_from_parts
from upshot_joiner.join.attributed import NEVER
from upshot_joiner.join.attribution import window_of
from upshot_joiner.join.attributor import NEVER_WITHDRAWN, original_label_id
from upshot_joiner.store.client import Store
from upshot_joiner.store.entities import EntityTypes
from upshot_joiner.store.keys import entity_key

MAX_SHOWN = 20
"""Of the predictions that competed for a label."""
MAX_PREDICTIONS = 100
MAX_LABELS = 1000

_OF_REQUEST = f"""
SELECT * FROM attributed_events FINAL
WHERE request_key = {{request_key:UInt128}} AND request_id = {{request_id:String}}
  AND withdrawn_at = toDateTime64('{NEVER}', 6, 'UTC')
ORDER BY observed_at, label_id, model
"""
_CANDIDATES = """
SELECT request_id, toString(model_version) AS model_version, predicted_at, count() OVER () AS candidates
FROM entity_predictions FINAL
WHERE entity_key = {entity_key:UInt128} AND model = {model:String} AND item_id = {item_id:String}
  AND predicted_at >= {start:DateTime64(6, 'UTC')} AND predicted_at <= {end:DateTime64(6, 'UTC')}
ORDER BY predicted_at DESC, request_id DESC
LIMIT {limit:UInt32}
"""
_PREDICTIONS = """
SELECT toString(model) AS model, toString(model_version) AS model_version, request_id, item_id, predicted_at,
  count() OVER () AS total
FROM entity_predictions FINAL
WHERE entity_key = {entity_key:UInt128}
ORDER BY predicted_at DESC, request_id DESC
LIMIT {limit:UInt32}
"""
_LABELS = """
SELECT *, count() OVER () AS total FROM entity_label_events FINAL
WHERE entity_key = {entity_key:UInt128}
ORDER BY observed_at DESC, label_id DESC
LIMIT {limit:UInt32}
"""
_ATTRIBUTIONS = """
SELECT * FROM attributions FINAL
WHERE entity_key = {entity_key:UInt128}
ORDER BY attributed_at, model, request_id
"""


class EntityStories:
    """Answers ``GET /v1/entities/{type}/{id}``, and says of a request which labels it got by its entities."""

    def __init__(self, store: Store, entities: EntityTypes, configs: ConfigStore) -> None:
        self._store = store
        self._entities = entities
        self._configs = configs

    def tell(self, entity_type: str, entity_id: str) -> dict[str, Any]:
        """The labels of an entity with where they went, newest first, and its predictions.

        Raises a 404 :class:`Problem` when neither is known.
        """
        params: dict[str, object] = {"entity_key": entity_key(entity_type, entity_id)}
        labels = self._rows(_LABELS, {**params, "limit": MAX_LABELS})
        predictions = self._rows(_PREDICTIONS, {**params, "limit": MAX_PREDICTIONS})
        if not labels and not predictions:
            raise Problem(404, "unknown_entity", "Neither a label nor a prediction of this entity is indexed.")
        went: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in self._rows(_ATTRIBUTIONS, params):
            went[original_label_id(row["label_id"])].append(_attribution(row))
        return {
            "entity": {entity_type: entity_id},
            "label_count": labels[0]["total"] if labels else 0,
            "label_events": [_label(row, went[row["label_id"]]) for row in labels],
            "prediction_count": predictions[0]["total"] if predictions else 0,
            "predictions": [{name: value for name, value in row.items() if name != "total"} for row in predictions],
        }

    def of_request(self, params: Mapping[str, object]) -> list[dict[str, Any]]:
        """The labels that a request has by its entities: rows as of ``label_events``, and in ``attributed`` why it has them."""
        if not self._entities.any:
            return []
        rows = self._rows(_OF_REQUEST, dict(params))
        for row in rows:
            row["attributed"] = self._why(row)
        return rows

    def _why(self, row: Mapping[str, Any]) -> dict[str, Any]:
        why = {
            "entity": {row["entity_type"]: row["entity_id"]},
            "attributed_at": row["attributed_at"],
            "rule": "retraction",
            "window_start": None,
            "window_end": None,
            "candidates": None,
            "competed": [],
        }
        if row["op"] == "retract":  # it follows the labels that it takes back
            return why
        rules = self._configs.get(row["model"]).label(row["name"])
        start, end = row["observed_at"] - window_of(rules), row["observed_at"]
        found = self._rows(
            _CANDIDATES,
            {
                "entity_key": entity_key(row["entity_type"], row["entity_id"]),
                **{name: row[name] for name in ("model", "item_id")},
                "start": start,
                "end": end,
                "limit": MAX_SHOWN,
            },
        )
        return why | {
            "rule": rules.attribution,
            "window_start": start,
            "window_end": end,
            "candidates": found[0]["candidates"] if found else 0,
            "competed": [
                {name: one[name] for name in ("request_id", "model_version", "predicted_at")} for one in found
            ],
        }

    def _rows(self, sql: str, params: dict[str, object]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self._store.arrow(sql, params).to_pylist()
        return rows


def _label(row: Mapping[str, Any], went: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        **{name: row[name] for name in ("label_id", "name", "op")},
        "value": scalar_from_parts(row["value_kind"], row["value_text"]),
        **{name: row[name] for name in ("item_id", "model", "observed_at", "received_at", "source")},
        "tags": dict(row["tags"]),
        "waits": all(one["withdrawn_at"] is not None for one in went),
        "attributed_to": went,
    }


def _attribution(row: Mapping[str, Any]) -> dict[str, Any]:
    """Where a label went. ``withdrawn_at``: until when, where another prediction has taken its place."""
    return {
        **{name: row[name] for name in ("model", "request_id", "item_id")},
        "value": scalar_from_parts(row["value_kind"], row["value_text"]),
        "attributed_at": row["attributed_at"],
        "withdrawn_at": None if row["withdrawn_at"] == NEVER_WITHDRAWN else row["withdrawn_at"],
    }
