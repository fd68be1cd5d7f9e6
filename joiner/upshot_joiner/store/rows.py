"""From checked events to Arrow blocks, and from blocks back to features as they were served."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import msgspec
import pyarrow as pa

from upshot.wire import Scalar
from upshot_joiner.config import ModelConfig
from upshot_joiner.intake.check import CheckedLabel, CheckedPrediction, exact_json, scalar_parts
from upshot_joiner.store.keys import key_column
from upshot_joiner.store.served import ARROW_TYPE, KINDS, Kind

TIME = pa.timestamp("us", "UTC")
KEY = pa.binary(16)
TEXT_MAP = pa.map_(pa.string(), pa.string())
NUMBER_MAP = pa.map_(pa.string(), pa.float64())
TIME_MAP = pa.map_(pa.string(), TIME)

_INT64 = range(-(2**63), 2**63)
_EXACT_IN_FLOAT = range(-(2**53), 2**53 + 1)
_LATEST = 2**64 - 1


def first_wins(received_us: int) -> int:
    """The version under which ReplacingMergeTree, which keeps the largest, keeps the earliest row."""
    return _LATEST - received_us


def kind_of(value: object) -> Kind | None:
    """The typed column a feature value belongs to; None when only ``extra`` can hold it exactly. Null has no kind."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int" if value in _INT64 else None
    if isinstance(value, float):
        return "float"
    if isinstance(value, str):
        return "str"
    if isinstance(value, list) and value:
        types = set(map(type, value))
        if types == {int}:
            return "ints" if all(number in _INT64 for number in value) else None
        if types == {float}:
            return "floats"
        if types == {int, float} and all(number in _EXACT_IN_FLOAT for number in value if isinstance(number, int)):
            return "floats"  # a list of numbers is one vector: [1, 0.5] is [1.0, 0.5]
    return None


@dataclass
class FeatureCells:
    """The features of a block of rows, by column: what the table must have, and what goes into it."""

    rows: int
    cells: dict[tuple[str, Kind], Sequence[Any]]
    """By feature and kind, one cell per row; None (an empty list for vectors) where the row has no such value."""
    extras: list[list[tuple[str, str]]]
    """Per row, the values that only JSON text holds exactly."""
    shapes: dict[int, frozenset[str]]
    """The sets of names that were served together, by hash."""
    shape_of_row: list[int]

    @property
    def kinds(self) -> dict[str, set[Kind]]:
        """The kinds of each feature in this block."""
        kinds: defaultdict[str, set[Kind]] = defaultdict(set)
        for name, kind in self.cells:
            kinds[name].add(kind)
        return kinds

    def put(self, name: str, kind: Kind, positions: Sequence[int], values: Sequence[Any]) -> None:
        """Fill in values of one feature and kind; None among them stays empty."""
        empty: Any = [] if kind in ("ints", "floats") else None
        column = self.cells.get((name, kind))
        if column is None and len(values) == self.rows and empty is None:
            self.cells[name, kind] = values
            return
        cells = column if isinstance(column, list) else [empty] * self.rows if column is None else list(column)
        self.cells[name, kind] = cells
        for position, value in zip(positions, values, strict=True):
            if value is not None:
                cells[position] = value


_SIMPLE: dict[type, Kind] = {float: "float", str: "str", bool: "bool"}


def feature_cells(predictions: Sequence[CheckedPrediction]) -> FeatureCells:
    """Turn the features of rows into columns.

    Rows served with the same names are taken together, and a feature whose values are all of one simple type is moved as a
    whole: this loop is most of what a stored prediction costs.
    """
    by_shape: defaultdict[int, list[int]] = defaultdict(list)
    for position, one in enumerate(predictions):
        by_shape[one.shape.hash].append(position)
    block = FeatureCells(len(predictions), {}, [[] for _ in predictions], {}, [one.shape.hash for one in predictions])
    for shape, positions in by_shape.items():
        names = predictions[positions[0]].shape.names
        block.shapes[shape] = frozenset(names)
        columns = zip(*[predictions[position].values for position in positions], strict=True)
        for name, values in zip(names, columns, strict=True):
            types = set(map(type, values))
            types.discard(type(None))
            if not types:
                continue
            simple = _SIMPLE.get(next(iter(types))) if len(types) == 1 else None
            if types == {int}:
                known = [value for value in values if value is not None]
                simple = "int" if min(known) in _INT64 and max(known) in _INT64 else None
            if simple is not None:
                block.put(name, simple, positions, values)
                continue
            for position, value in zip(positions, values, strict=True):
                if value is None:
                    continue
                kind = kind_of(value)
                if kind is None:
                    block.extras[position].append((name, exact_json(value)))
                else:
                    block.put(name, kind, (position,), (value,))
    return block


def identity_block(predictions: Sequence[CheckedPrediction], received_us: int) -> pa.Table:
    """What the typed table and the spine both hold of rows of one model: identity, times, content hash."""
    rows = len(predictions)
    ids, versions, items = zip(*[_identity_fields(one.event) for one in predictions], strict=True)
    return pa.table(
        {
            "request_key": key_column([one.key for one in predictions]),
            "request_id": pa.array(ids, pa.string()),
            "model_version": pa.array(versions, pa.string()),
            "item_id": pa.array(items, pa.string()),
            "predicted_at": pa.array(
                [received_us if one.predicted_us is None else one.predicted_us for one in predictions], pa.int64()
            ).cast(TIME),
            "received_at": pa.repeat(pa.scalar(received_us, pa.int64()), rows).cast(TIME),
            "first_wins": pa.repeat(pa.scalar(first_wins(received_us), pa.uint64()), rows),
            "content_hash": key_column([one.content_hash for one in predictions]),
        }
    )


_identity_fields = attrgetter("request_id", "model_version", "item_id")
_served_fields = attrgetter(
    *("prediction", "probabilities", "entities", "tags", "action", "propensity", "shown", "keep_probability"),
    *("writer_id", "seq", "inputs", "attributions", "flags"),
)


def served_block(
    predictions: Sequence[CheckedPrediction],
    features: FeatureCells,
    columns: Mapping[str, Mapping[Kind, str]],
    config: ModelConfig,
    received_us: int,
    identity: pa.Table | None = None,
) -> pa.Table:
    """The rows of one model for its typed table; a value without a column there goes to ``extra``.

    ``identity`` is the rows' :func:`identity_block`, where it has been made already.
    """
    extras = features.extras
    typed: dict[str, pa.Array] = {}
    for (name, kind), cells in features.cells.items():
        column = columns.get(name, {}).get(kind)
        if column is not None:
            array = pa.array(cells, ARROW_TYPE[kind])
            typed[column] = array.dictionary_encode() if kind == "str" else array  # as the store keeps texts
            continue
        for position, value in enumerate(cells):
            if value is not None and value != []:
                extras[position].append((name, exact_json(value)))
    if identity is None:
        identity = identity_block(predictions, received_us)
    (
        answers,
        probabilities,
        entities,
        tags,
        actions,
        propensities,
        shown,
        kept,
        writers,
        seqs,
        inputs,
        attributions,
        flags,
    ) = zip(*[_served_fields(one.event) for one in predictions], strict=True)
    prediction, action = scalar_columns(answers), scalar_columns(actions)
    scores: pa.Array = prediction.number
    if any(probabilities):
        numbers = prediction.number.to_pylist()
        some = [score(config, of_classes, number) for of_classes, number in zip(probabilities, numbers, strict=True)]
        scores = pa.array(some, pa.float64())
    table: dict[str, pa.Array] = {
        **dict(zip(identity.column_names, identity.columns, strict=True)),
        "prediction_kind": prediction.kind,
        "prediction_number": prediction.number,
        "prediction_text": prediction.text,
        "score": scores,
        "probabilities": _maps(probabilities, NUMBER_MAP, float),
        "entities": _maps(entities, TEXT_MAP),
        "tags": _maps(tags, TEXT_MAP),
        "action_kind": action.kind,
        "action": action.text,
        "propensity": pa.array(propensities, pa.float64()),
        "shown": pa.array(shown, pa.bool_()),
        "keep_probability": pa.array(kept, pa.float64()),
        "writer_id": pa.array(writers, pa.string()).dictionary_encode(),
        "seq": pa.array(seqs, pa.uint64()),
        "feature_times": _maps([one.feature_times_us for one in predictions], TIME_MAP),
        "inputs": pa.array([exact_json(given) if given else "" for given in inputs], pa.string()),
        "attributions": _maps(attributions, NUMBER_MAP, float),
        "shape": pa.array(features.shape_of_row, pa.uint64()),
        "flags": _maps(flags, TEXT_MAP),
        "extra": pa.array(extras, TEXT_MAP) if any(extras) else _maps([None] * len(extras), TEXT_MAP),
    }
    table.update(typed)
    return pa.table(table)


@dataclass(frozen=True, slots=True)
class ScalarColumns:
    """Values of any kind as the store keeps them: kind, number (null where a value is none), exact text."""

    kind: pa.Array
    number: pa.Array
    text: pa.Array


def scalar_columns(values: Sequence[Scalar | None]) -> ScalarColumns:
    """What :func:`~upshot_joiner.intake.check.scalar_parts` gives for each."""
    types = set(map(type, values))
    if types == {float}:
        kind = pa.repeat(pa.scalar("float"), len(values))
        return ScalarColumns(kind, pa.array(values, pa.float64()), pa.array(_float_texts(values), pa.string()))
    if types == {type(None)}:
        nothing = pa.repeat(pa.scalar(""), len(values))
        return ScalarColumns(nothing, pa.nulls(len(values), pa.float64()), nothing)
    kinds, numbers, texts = zip(*map(scalar_parts, values), strict=True)
    return ScalarColumns(pa.array(kinds, pa.string()), pa.array(numbers, pa.float64()), pa.array(texts, pa.string()))


def _float_texts(values: Sequence[Any]) -> list[str]:
    """The ``repr`` of each. msgspec writes the same digits six times as fast, but other exponents, and no NaN."""
    joined = msgspec.json.encode(values)[1:-1].decode()
    texts = joined.split(",")
    if "e" not in joined and "n" not in joined and "0.0000" not in joined:
        return texts
    return [
        repr(value) if "e" in text or "n" in text or "0.0000" in text else text
        for text, value in zip(texts, values, strict=True)
    ]


def spine_block(
    predictions: Sequence[CheckedPrediction], received_us: int, identity: pa.Table | None = None
) -> pa.Table:
    """The rows of any models for the spine. ``identity`` as for :func:`served_block`."""
    if identity is None:
        identity = identity_block(predictions, received_us)
    return identity.append_column("model", pa.array([one.event.model for one in predictions], pa.string()))


def label_block(labels: Sequence[CheckedLabel], received_us: int) -> pa.Table:
    """The rows of the ledger."""
    rows = len(labels)
    events = [one.event for one in labels]
    value = scalar_columns([event.value for event in events])
    observed = [received_us if one.observed_us is None else one.observed_us for one in labels]
    return pa.table(
        {
            "request_key": key_column([one.key for one in labels]),
            "request_id": pa.array([event.request_id for event in events], pa.string()),
            "label_id": pa.array([one.label_id for one in labels], pa.string()),
            "name": pa.array([event.name for event in events], pa.string()),
            "op": pa.array([event.op for event in events], pa.string()),
            "value_kind": value.kind,
            "value_number": value.number,
            "value_text": value.text,
            "item_id": pa.array([event.item_id for event in events], pa.string()),
            "model": pa.array([event.model for event in events], pa.string()),
            "observed_at": pa.array(observed, pa.int64()).cast(TIME),
            "received_at": pa.repeat(pa.scalar(received_us, pa.int64()), rows).cast(TIME),
            "first_wins": pa.repeat(pa.scalar(first_wins(received_us), pa.uint64()), rows),
            "source": pa.array([event.source for event in events], pa.string()),
            "tags": _maps([event.tags for event in events], TEXT_MAP),
            "writer_id": pa.array([event.writer_id for event in events], pa.string()),
            "seq": pa.array([event.seq for event in events], pa.uint64()),
            "content_hash": key_column([one.content_hash for one in labels]),
        }
    )


def score(config: ModelConfig, probabilities: Mapping[str, float] | None, number: float | None) -> float | None:
    """The one number that performance is computed from: the positive class's probability, else the predicted number."""
    if probabilities:
        value = probabilities.get(positive_class(config))
        if value is not None:
            return float(value)
    return number


def positive_class(config: ModelConfig) -> str:
    """The key of the positive class in ``probabilities``: class names travel as text."""
    return str(config.positive)


def features_of(
    row: Mapping[str, Any], names: Sequence[str] | frozenset[str], columns: Mapping[str, Mapping[Kind, str]]
) -> dict[str, Any]:
    """The features of one stored row, type and value as served; ``row`` holds its columns, ``extra`` included."""
    extra = dict(row["extra"])
    features: dict[str, Any] = {}
    for name in sorted(names):
        if name in extra:
            features[name] = json.loads(extra[name])
            continue
        value = None
        by_kind = columns.get(name, {})
        for kind in KINDS:
            column = by_kind.get(kind)
            cell = row.get(column) if column else None
            if cell is not None and cell != []:
                value = cell
                break
        features[name] = value
    return features


def _maps(
    maps: Sequence[Mapping[str, Any] | None], kind: pa.MapType, convert: Callable[[Any], Any] | None = None
) -> pa.Array:
    """One map per row; most rows have none of most of them, and then nothing is done per row."""
    if not any(maps):
        offsets = pa.repeat(pa.scalar(0, pa.int32()), len(maps) + 1)
        return pa.MapArray.from_arrays(offsets, pa.array([], kind.key_type), pa.array([], kind.item_type)).cast(kind)
    if convert is None:
        return pa.array([list(one.items()) if one else [] for one in maps], kind)
    return pa.array([[(key, convert(value)) for key, value in (one or {}).items()] for one in maps], kind)
