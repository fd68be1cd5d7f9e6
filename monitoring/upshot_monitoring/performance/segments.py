"""Segments: ``features.country`` (each value), ``features.country=DE`` or ``tags.channel=web`` (one value)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from upshot_joiner.errors import Problem
from upshot_joiner.store.served import Feature


@dataclass(frozen=True)
class Segment:
    """An SQL expression over served rows, null for rows outside; the one value asked for, if any."""

    sql: str
    value: str | None
    params: dict[str, object]


def parse_segment(text: str, features: Sequence[Feature]) -> Segment:
    """Raises a 422 :class:`Problem` for what is not a segment, or a feature that is not known."""
    column, equals, value = text.partition("=")
    if not equals:
        # A feature's name may hold "=".
        column, value = text, ""
    kind, _, name = column.partition(".")
    params: dict[str, object] = {"segment_name": name, "segment_value": value}
    if kind == "tags" and name:
        expression = "if(mapContains(tags, {segment_name:String}), tags[{segment_name:String}], NULL)"
    elif kind == "features" and (feature := next((one for one in features if one.name == name), None)) is not None:
        texts = [
            f"if({column}, 'true', 'false')" if kind == "bool" else f"toString({column})"
            for kind, column in feature.columns.items()
            if kind in ("bool", "str", "int", "float")
        ]
        expression = f"coalesce({', '.join(texts)})" if texts else "NULL"
    else:
        raise Problem(
            422,
            "unknown_segment",
            "A segment is features.<name> or tags.<key>, perhaps with =<value>.",
            [{"loc": "segment", "code": "unknown"}],
        )
    if not equals:
        return Segment(f"CAST({expression} AS Nullable(String))", None, params)
    return Segment(
        f"if(CAST({expression} AS Nullable(String)) = {{segment_value:String}}, {{segment_value:String}}, NULL)",
        value,
        params,
    )
