"""Feast: predictions with the features as the online store served them: values, times, statuses and entity keys.

Takes what ``FeatureStore.get_online_features`` returns, or the JSON of a feature server; Feast itself is not imported.

==================  ==============================================================================================
status              the feature is logged as
==================  ==============================================================================================
``PRESENT``         the value; null where the store holds a null
``NULL_VALUE``      null
``NOT_FOUND``       absent: the store has nothing for this entity key
``OUTSIDE_MAX_AGE`` what was served: the old value, or null, as the feature server has it
==================  ==============================================================================================

The tag ``feast_status`` holds the statuses of the row, sorted (``PRESENT``, or ``NOT_FOUND,PRESENT``), and the tag
``feast_status.<feature>`` that of each feature that is not ``PRESENT``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from upshot.capture.request_id import current_request, new_request_id
from upshot.integrations.rows import Answer, answers_of, complain, log_rows
from upshot.logger import Logger

if TYPE_CHECKING:
    from typing import Protocol

    class OnlineResponse(Protocol):
        """``feast.online_response.OnlineResponse``."""

        proto: Any

        def to_dict(self) -> dict[str, list[Any]]:
            """Name -> a value for each row."""


__all__ = ["features_of", "log_online_features"]

_UNKNOWN = "1970-01-01T00:00:00"
"""How Feast writes a moment that it does not know."""
_PRESENT, _NOT_FOUND = "PRESENT", "NOT_FOUND"


def log_online_features(
    response: OnlineResponse | Mapping[str, Any],
    predictions: Any,
    *,
    entities: Collection[str],
    features: Mapping[str, object] | Sequence[Mapping[str, object]] | None = None,
    classes: Sequence[Any] | None = None,
    request_ids: str | Sequence[str] | None = None,
    item_ids: Sequence[str] | None = None,
    logger: Logger | None = None,
    **details: Any,
) -> list[str]:
    """Log one prediction for each row of a response; returns their request IDs.

    ``predictions``: one for each row (a list, an array, a series), or the one of a single row. Several columns are the
    probabilities of ``classes``. ``entities``: which names of the response are entity keys; all others are features.
    ``features``: what the model was given besides, the same for all rows or one mapping for each. ``request_ids``: one for each
    row, or one text for all; ``item_ids``: one for each row of a ranked list, whose rows then share a request ID.
    ``logger``: instead of the default one. ``details``: keyword arguments of `upshot.log_prediction`, for all rows.

    Raises nothing: rows that cannot be read are counted as ``dropped_failed``.
    """
    n_rows = _length(response)
    if item_ids is not None and request_ids is None and current_request.get() is None:
        request_ids = new_request_id()
    if isinstance(request_ids, str):
        request_ids = [request_ids] * n_rows

    def read() -> list[dict[str, Any]]:
        rows = _rows(response, entities)
        besides = [features] * len(rows) if features is None or isinstance(features, Mapping) else features
        rows = [_merged(row, given, details) for row, given in zip(rows, besides, strict=True)]
        if item_ids is not None:
            rows = [{**row, "item_id": item_id} for row, item_id in zip(rows, item_ids, strict=True)]
        return rows

    def answers(n: int) -> list[Answer]:
        if isinstance(predictions, Mapping):
            return [Answer("", [predictions])]
        return answers_of(predictions, n, classes)

    for_all = {name: value for name, value in details.items() if name not in _MERGED}
    return log_rows(logger, read, answers, request_ids=request_ids, n_rows=n_rows, **for_all)


def features_of(
    response: OnlineResponse | Mapping[str, Any], row: int = 0, *, entities: Collection[str]
) -> dict[str, Any]:
    """One row of a response as keyword arguments of `upshot.log_prediction`: features, their times, entities and tags.

    ::

        upshot.log_prediction(prediction=score, **features_of(response, entities=["driver_id"]))

    ``entities``: which names of the response are entity keys. Raises nothing: of a row that cannot be read the features are None,
    which `upshot.log_prediction` counts as ``dropped_failed``.
    """
    try:
        return _rows(response, entities)[row]
    except Exception as error:  # noqa: BLE001  # this runs in the path of a request
        complain("features_of", f"a row of a Feast response could not be read ({type(error).__name__})")
        return {"features": None}


_MERGED = ("feature_times", "entities", "tags")


def _merged(row: dict[str, Any], besides: Mapping[str, object] | None, details: Mapping[str, Any]) -> dict[str, Any]:
    merged = {name: {**row[name], **(details.get(name) or {})} for name in _MERGED}
    return {"features": {**row["features"], **(besides or {})}, **merged}


def _rows(response: Any, entities: Collection[str]) -> list[dict[str, Any]]:
    columns = _from_json(response) if isinstance(response, Mapping) else _from_proto(response)
    n_rows = max((len(values) for values, _, _ in columns.values()), default=0)
    for name in entities:
        if name not in columns:
            complain(f"entity {name}", f"a Feast response has no {name!r}, which was given as an entity")
    rows: list[dict[str, Any]] = [
        {"features": {}, "feature_times": {}, "entities": {}, "tags": {}} for _ in range(n_rows)
    ]
    seen: list[set[str]] = [set() for _ in rows]
    for name, (values, statuses, times) in columns.items():
        if name in entities:
            for row, value in zip(rows, values, strict=True):
                row["entities"][name] = value
            continue
        for n, (row, value) in enumerate(zip(rows, values, strict=True)):
            status = statuses[n] if n < len(statuses) else _PRESENT
            seen[n].add(status)
            if status != _PRESENT:
                row["tags"][f"feast_status.{name}"] = status
            if status != _NOT_FOUND:
                row["features"][name] = value
                if n < len(times) and times[n]:
                    row["feature_times"][name] = times[n]
    for row, statuses_of_row in zip(rows, seen, strict=True):
        row["tags"]["feast_status"] = ",".join(sorted(statuses_of_row))
    return rows


_Columns = dict[str, tuple[Sequence[Any], Sequence[str], Sequence[Any]]]
"""Name -> values, statuses and moments, for each row. A moment that is not known is false."""


def _from_proto(response: Any) -> _Columns:
    values = response.to_dict()
    columns: _Columns = {}
    for name, vector in zip(response.proto.metadata.feature_names.val, response.proto.results, strict=True):
        known = vector.DESCRIPTOR.fields_by_name["statuses"].enum_type.values_by_number
        statuses = [known[number].name if number in known else str(number) for number in vector.statuses]
        times = [at.seconds + at.nanos / 1e9 for at in vector.event_timestamps]
        columns[name] = (values[name], statuses, times)
    return columns


def _from_json(response: Mapping[str, Any]) -> _Columns:
    return {
        name: (
            vector["values"],
            vector.get("statuses", ()),
            [at and not at.startswith(_UNKNOWN) and at for at in vector.get("event_timestamps", ())],
        )
        for name, vector in zip(response["metadata"]["feature_names"], response["results"], strict=True)
    }


def _length(response: Any) -> int:
    try:
        vectors = response["results"] if isinstance(response, Mapping) else response.proto.results
        return max(len(vector["values"] if isinstance(vector, Mapping) else vector.values) for vector in vectors)
    except Exception:  # noqa: BLE001  # at least one prediction was to be logged
        return 1
