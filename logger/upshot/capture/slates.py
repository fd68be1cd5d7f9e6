"""Ranked lists: one event per item, all with the request ID and the moment of the slate they were served in.

The position of an item, counted from 0 in the order in which the slate is given, is its tag ``position``: a segment to compare, and
what counterfactual estimators need beside ``propensity``. An item without an ID of its own has its index for one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from upshot.capture.bounded_text import fields_of
from upshot.writer import Writer

__all__ = ["encode_slate"]

_OF_AN_ITEM = frozenset(
    {
        "action",
        "attributions",
        "entities",
        "feature_times",
        "features",
        "inputs",
        "item_id",
        "position",
        "prediction",
        "propensity",
        "shown",
        "tags",
    }
)
_MERGED = ("entities", "feature_times", "features", "inputs", "tags")
"""What an item says of these comes on top of what is said of the whole slate."""


def encode_slate(
    writer: Writer,
    items: Iterable[object],
    *,
    request_id: str,
    model: str,
    model_version: str,
    predicted_at: object,
    keep_probability: float = 1.0,
    **of_all: object,
) -> list[bytes]:
    """Number and encode the items of a slate. ``of_all``: ``features``, ``entities``, ``tags``, ``action`` and so on of every item.

    An item is a mapping, or an object with named fields. What is neither, or has a part that is not what it should be, is kept as
    text in the feature ``item`` and flagged: one odd item loses neither itself nor the others. Raises when ``items`` cannot
    be iterated, having counted the call as one event.
    """
    common = {name: value for name, value in of_all.items() if value is not None}
    try:
        given = list(items)
    except Exception:
        writer.next_seq()
        raise
    events = []
    for index, item in enumerate(given):
        fixed = {
            "request_id": request_id,
            "model": model,
            "model_version": model_version,
            "predicted_at": predicted_at,
            "keep_probability": keep_probability,
            "writer_id": writer.writer_id,
            "seq": writer.next_seq(),
        }
        try:
            events.append(_encoded(writer, fixed, _of_item(writer, item, index, common)))
        except Exception:  # noqa: BLE001  # the item is no item: keep what can be seen of it
            whole = {"item_id": index, "tags": {"position": index}, "features": {"item": item}}
            events.append(_encoded(writer, fixed, whole))
            writer.complaints.note(
                "slate item", "items of a slate that are no mappings, or have odd parts, are kept as text"
            )
    return events


def _of_item(writer: Writer, item: object, index: int, common: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of one item's event."""
    given = _mapping(item)
    for name in given.keys() - _OF_AN_ITEM:
        shown = writer.encoder.text(name)[:200]
        why = f"log_slate: the key {shown!r} of an item is left out, it is none of an event"
        writer.complaints.note(why, why)
    own = {name: value for name, value in given.items() if value is not None and name in _OF_AN_ITEM}
    made = {**common, **own}
    for name in _MERGED:
        if name in common and name in own:
            made[name] = {**_mapping(common[name]), **_mapping(own[name])}
    made["tags"] = {"position": made.pop("position", index), **_mapping(made.get("tags", {}))}
    made.setdefault("item_id", index)
    return made


def _mapping(given: Any) -> Mapping[Any, Any]:
    """A mapping as it is, the named fields of an object as one. Raises TypeError for anything else."""
    if isinstance(given, Mapping):
        return given
    fields = fields_of(given)
    return {**given} if fields is None else fields


def _encoded(writer: Writer, fixed: Mapping[str, Any], made: Mapping[str, Any]) -> bytes:
    return writer.encoder.prediction(
        item_id=made["item_id"],
        prediction=made.get("prediction"),
        features=made.get("features", {}),
        feature_times=made.get("feature_times"),
        inputs=made.get("inputs"),
        attributions=made.get("attributions"),
        entities=made.get("entities"),
        tags=made["tags"],
        action=made.get("action"),
        propensity=made.get("propensity"),
        shown=made.get("shown"),
        **fixed,
    )
