"""The whole story of one request: its predictions as served, every statement about its outcome, and what follows from them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from upshot_joiner.clock import Clock, to_micros
from upshot_joiner.config import ConfigStore, ModelConfig
from upshot_joiner.entity_story import EntityStories
from upshot_joiner.errors import Problem
from upshot_joiner.feed.records import FeedRecords
from upshot_joiner.intake.check import scalar_from_parts
from upshot_joiner.join import fold
from upshot_joiner.join.activation import SHOWN
from upshot_joiner.join.attributed import both
from upshot_joiner.join.attributor import original_label_id
from upshot_joiner.join.because import because
from upshot_joiner.join.rule import Event, Outcome, at
from upshot_joiner.join.silence import NEVER
from upshot_joiner.store.client import Store
from upshot_joiner.store.keys import request_key
from upshot_joiner.store.rows import features_of
from upshot_joiner.store.served import ServedTables

_EVENTS = f"SELECT * REPLACE (toString(op) AS op) FROM ({fold.EVENTS_OF_REQUEST}) ORDER BY observed_at, label_id"
_SERVED = """
SELECT * FROM %s FINAL
WHERE predicted_at >= fromUnixTimestamp64Micro({first:Int64}, 'UTC')
  AND predicted_at <= fromUnixTimestamp64Micro({last:Int64}, 'UTC')
  AND request_key = {request_key:UInt128} AND request_id = {request_id:String}
ORDER BY predicted_at, model_version, item_id
"""


class Stories:
    """Answers ``GET /v1/predictions/{request_id}``."""

    def __init__(
        self, store: Store, served: ServedTables, configs: ConfigStore, clock: Clock, entities: EntityStories
    ) -> None:
        self._store = store
        self._served = served
        self._configs = configs
        self._clock = clock
        self._entities = entities
        self._feeds = FeedRecords(store)

    def tell(self, request_id: str) -> dict[str, Any]:
        """Predictions, label events and outcomes of a request; a 404 :class:`Problem` when neither kind of event is known.

        JSON has no NaN and no infinities: such features appear as the texts ``NaN``, ``Infinity``, ``-Infinity``, and their names
        are listed in ``non_finite``.
        """
        if self._store.is_shared:
            self._served.refresh()
            self._configs.refresh()
        params: dict[str, object] = {"request_key": request_key(request_id), "request_id": request_id}
        spine = self._store.query(
            f"SELECT model, predicted_at FROM ({fold.SPINE_OF_REQUEST}) ORDER BY predicted_at, model", params
        )
        events = self._store.arrow(_EVENTS, params).to_pylist()
        of_entities = self._entities.of_request(params)
        if not spine and not events:
            raise Problem(404, "unknown_request", "Neither a prediction nor a label of this request is known.")
        predictions: list[dict[str, Any]] = []
        for model in dict.fromkeys(model for model, _ in spine):
            times = [predicted_at for of, predicted_at in spine if of == model]
            predictions += self._predictions(model, times, params)
        configs = {one["model"]: self._configs.get(one["model"]) for one in predictions}
        sources = both(fold.EVENTS_OF_REQUEST, fold.ATTRIBUTED_OF_REQUEST) if of_entities else fold.EVENTS_OF_REQUEST
        table = fold.fold(self._store, fold.SPINE_OF_REQUEST, sources, configs, params)
        folded = {(row["model"], row["model_version"], row["item_id"], row["name"]): row for row in table.to_pylist()}
        for one in predictions:
            one["activation"] = _activation(one["shown"], folded.get((*_identity(one), SHOWN)))
        return {
            "request_id": request_id,
            "predictions": predictions,
            "label_events": [_label_event(event, predictions) for event in [*events, *of_entities]],
            "outcomes": self._outcomes(predictions, configs, folded, [*events, *of_entities]),
        }

    def _predictions(self, model: str, times: list[datetime], params: dict[str, object]) -> list[dict[str, Any]]:
        shapes = self._served.shapes(model)
        columns = self._served.columns(model)
        table = self._store.arrow(
            _SERVED % self._served.table(model),
            {**params, "first": to_micros(min(times)), "last": to_micros(max(times))},
        )
        return [_prediction(model, row, features_of(row, shapes[row["shape"]], columns)) for row in table.to_pylist()]

    def _outcomes(
        self,
        predictions: list[dict[str, Any]],
        configs: Mapping[str, ModelConfig],
        folded: Mapping[tuple[str, str, str, str], dict[str, Any]],
        events: list[dict[str, Any]],
    ) -> list[dict[str, Any]]:
        now = self._clock.now()
        silences = {model: self._feeds.silences(model) for model in configs}
        outcomes = []
        for one in predictions:
            identity = _identity(one)
            config = configs[one["model"]]
            counts = one["activation"] is None or one["activation"]["state"] == "shown"
            seen = [key[3] for key in folded if key[:3] == identity and key[3] != SHOWN]
            for name in dict.fromkeys([*config.labels, *sorted(seen)]):
                rules = config.label(name)
                row = folded.get((*identity, name))
                outcome = Outcome("pending")
                if row is not None:
                    value = scalar_from_parts(row["value_kind"], row["value_text"])
                    outcome = Outcome(row["state"], value, row["observed_at"])
                if counts:  # nobody could answer what was never shown: its silence is no default
                    silence = silences[one["model"]].get(name, NEVER)
                    outcome = at(outcome, one["predicted_at"], rules, now, silence)
                of_outcome = [_event(event) for event in events if event["name"] == name and _concerns(event, one)]
                why = because(of_outcome, one["predicted_at"], rules, outcome, counts=counts)
                outcomes.append(
                    {
                        "model": identity[0],
                        "model_version": identity[1],
                        "item_id": identity[2],
                        "name": name,
                        "state": outcome.state,
                        "value": outcome.value,
                        "observed_at": outcome.observed_at,
                        "received_at": row["received_at"] if row else None,
                        "matures_at": one["predicted_at"] + rules.window,
                        "because": {
                            "rule": why.rule,
                            "events": why.events,
                            "decided_by": [original_label_id(label_id) for label_id in why.decided_by],
                            "overridden": [
                                {"label_id": original_label_id(label_id), "reason": reason}
                                for label_id, reason in why.overridden
                            ],
                            "text": why.text,
                        },
                    }
                )
        return outcomes


def _identity(prediction: Mapping[str, Any]) -> tuple[str, str, str]:
    return prediction["model"], prediction["model_version"], prediction["item_id"]


def _activation(shown: bool | None, outcome: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What became of a prediction that was logged with ``shown=False``; None for any other."""
    if shown is not False:
        return None
    if outcome is None or outcome["state"] != "labelled" or not outcome["value_number"]:
        return {"state": "not_shown", "shown_at": None, "received_at": None}
    return {"state": "shown", "shown_at": outcome["observed_at"], "received_at": outcome["received_at"]}


def _prediction(model: str, row: dict[str, Any], features: dict[str, Any]) -> dict[str, Any]:
    shown, non_finite = _finite(features)
    inputs, _ = _finite(_loads(row["inputs"]))
    value = scalar_from_parts(row["prediction_kind"], row["prediction_text"])
    return {
        "model": model,
        "model_version": row["model_version"],
        "item_id": row["item_id"],
        "predicted_at": row["predicted_at"],
        "received_at": row["received_at"],
        "prediction": _text_if_not_finite(value),
        "probabilities": _finite(dict(row["probabilities"]))[0] or None,
        "features": shown,
        "non_finite": non_finite,
        "feature_times": dict(row["feature_times"]) or None,
        "inputs": inputs or None,
        "attributions": _finite(dict(row["attributions"]))[0] or None,
        "entities": dict(row["entities"]),
        "tags": dict(row["tags"]),
        "action": scalar_from_parts(row["action_kind"], row["action"]),
        "propensity": row["propensity"],
        "shown": row["shown"],
        "keep_probability": row["keep_probability"],
        "flags": dict(row["flags"]),
        "writer_id": row["writer_id"],
        "seq": row["seq"],
    }


def _concerns(event: Mapping[str, Any], prediction: Mapping[str, Any]) -> bool:
    return event["item_id"] == prediction["item_id"] and event["model"] in ("", prediction["model"])


def _event(event: Mapping[str, Any]) -> Event:
    value = scalar_from_parts(event["value_kind"], event["value_text"])
    return Event(event["label_id"], event["op"], value, event["observed_at"], event["source"])


def _label_event(event: dict[str, Any], predictions: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "label_id": original_label_id(event["label_id"]),
        "name": event["name"],
        "op": event["op"],
        "value": scalar_from_parts(event["value_kind"], event["value_text"]),
        "item_id": event["item_id"],
        "model": event["model"],
        "observed_at": event["observed_at"],
        "received_at": event["received_at"],
        "source": event["source"],
        "tags": dict(event["tags"]),
        "waiting": not any(_concerns(event, one) for one in predictions),
        "attributed": event.get("attributed"),
    }


def _finite(values: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    shown = {name: _text_if_not_finite(value) for name, value in values.items()}
    return shown, [name for name, value in values.items() if shown[name] is not value and shown[name] != value]


def _text_if_not_finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, list):
        return [_text_if_not_finite(one) for one in value]
    return value


def _loads(text: str) -> dict[str, Any]:
    loaded = json.loads(text) if text else {}
    return loaded if isinstance(loaded, dict) else {}
