"""What is profiled of a model, as SQL over its rows: features, score, prediction, label values.

Every value is exactly one of: number, vector (profiled by its Euclidean norm, and dimension by dimension in ``vector_rollup.py``),
bool, string, null, absent, other. Expressions are built from generated column names and fixed texts; names of features go into
statements as parameters only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from upshot_joiner.config import ModelConfig
from upshot_joiner.store.served import Feature, ServedTables

_LIKELIEST = "mapKeys(probabilities)[indexOf(mapValues(probabilities), arrayMax(mapValues(probabilities)))]"
CLASS_SQL = (
    "multiIf(prediction_kind IN ('int', 'bool'), toString(prediction_number), prediction_kind = 'str', prediction_text, "
    f"prediction_kind = '' AND notEmpty(probabilities), CAST({_LIKELIEST} AS String), NULL)"
)
"""The predicted class of a served row; null where a plain number was predicted."""

VECTOR_ROWS_PER_BLOCK = 2048
"""What bounds the memory of a statement that reads vectors: they may have thousands of elements."""

Role = Literal["feature", "score", "prediction", "label", "freshness", "attribution"]


@dataclass(frozen=True)
class Column:
    """One profiled column. Each expression is SQL over a row; None where the column never has such values."""

    role: Role
    name: str
    number: str | None = None
    """Nullable(Float64)."""
    vector: str | None = None
    """Array(Float64); empty where there is none."""
    size: str | None = None
    """The length of that array, from what is cheapest to read; None: ``length(vector)``."""
    flag: str | None = None
    """Nullable(Bool)."""
    text: str | None = None
    """Nullable(String)."""
    absent: str | None = None
    """True where the row was served without this feature."""
    other: str | None = None
    """True where the row has a value that none of the above can hold."""

    @property
    def is_numeric(self) -> bool:
        """Whether its values are measured on a scale."""
        return self.number is not None or self.vector is not None

    @property
    def is_textual(self) -> bool:
        """Whether its values are counted one by one."""
        return self.flag is not None or self.text is not None


def served_columns(model: str, served: ServedTables, config: ModelConfig) -> list[Column]:
    """The score, the prediction and every feature of a model, over its typed table."""
    shapes = served.shapes(model)
    features = []
    for position, feature in enumerate(served.features(model)):
        with_it = [shape for shape, names in shapes.items() if feature.name in names]
        features.append(_feature(feature, position, with_it, len(shapes)))
    return [*_answers(config), *features]


def names_parameter(columns: Iterable[Column]) -> list[str]:
    """The value of the ``names`` parameter that the expressions of :func:`served_columns` refer to."""
    return [column.name for column in columns if column.role == "feature"]


def label_columns(name: str, config: ModelConfig) -> list[Column]:
    """The values of one label, over its outcomes. A class is a class however it was spelled: 1, 1.0 and true are one."""
    labelled = "state = 'labelled'"
    if config.task == "regression":
        return [Column("label", name, number=f"if({labelled}, value_number, NULL)")]
    return [Column("label", name, text=f"if({labelled}, ifNull(toString(value_number), value_text), NULL)")]


def _answers(config: ModelConfig) -> list[Column]:
    """A class that was predicted is counted; a number is measured. Where only probabilities were given, the likeliest class."""
    score = Column("score", "score", number="score")
    if config.task == "regression":
        return [score, Column("prediction", "prediction", number="prediction_number")]
    return [
        score,
        Column(
            "prediction", "prediction", number="if(prediction_kind = 'float', prediction_number, NULL)", text=CLASS_SQL
        ),
    ]


def _feature(feature: Feature, position: int, with_it: list[int], shapes: int) -> Column:
    columns = feature.columns
    numbers = [
        expression
        for kind, expression in (
            ("int", f"toFloat64({columns.get('int')})"),
            ("float", f"{columns.get('float')}"),
        )
        if kind in columns
    ]
    vectors = [
        expression
        for kind, expression in (
            ("ints", f"arrayMap(v -> toFloat64(v), {columns.get('ints')})"),
            ("floats", f"{columns.get('floats')}"),
        )
        if kind in columns
    ]
    sizes = [f"length({columns[kind]})" for kind in ("ints", "floats") if kind in columns]
    return Column(
        "feature",
        feature.name,
        number=f"coalesce({', '.join(numbers)})" if numbers else None,
        vector=vectors[0] if len(vectors) == 1 else f"arrayConcat({', '.join(vectors)})" if vectors else None,
        size=" + ".join(sizes) or None,
        flag=columns.get("bool"),
        text=columns.get("str"),
        absent=None if len(with_it) == shapes else f"shape NOT IN ({', '.join(map(str, with_it)) or '0'})",
        other=f"has(mapKeys(extra), {{names:Array(String)}}[{position + 1}])",
    )
