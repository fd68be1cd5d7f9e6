"""What is profiled of the maps that a row may carry: how old each feature's value was when it was served, and what each feature
contributed to the prediction.

A map has few of many names, and its names are only known from the rows: they are read as pairs, not as columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

from upshot_joiner.store.client import Store
from upshot_monitoring.profiles.columns import Column
from upshot_monitoring.profiles.scales import Key, Scale, scale_of

MapRole = Literal["freshness", "attribution"]

MAX_NAMES = 2000
"""Of one map in one model, by alphabet; the rest is not profiled."""

_US = "toUnixTimestamp64Micro"
PAIRS: Final[dict[MapRole, tuple[str, str]]] = {
    # Seconds; below 0 where a value is said to have been computed after the prediction.
    "freshness": (
        "mapKeys(feature_times)",
        f"arrayMap(at -> ({_US}(predicted_at) - {_US}(at)) / 1e6, mapValues(feature_times))",
    ),
    "attribution": ("mapKeys(attributions)", "mapValues(attributions)"),
}
"""The names and the numbers of a row, as SQL over the served table."""

_NAMES = "SELECT {freshness}, {attribution} FROM {source}"
_MEASURE = """
SELECT CAST(name AS String) AS named,
  countIf(isFinite(x)), quantilesIf(0.25, 0.5, 0.75)(x, isFinite(x)), stddevPopStableIf(x, isFinite(x))
FROM (SELECT {names} AS in_map, {numbers} AS of_map FROM {source}) ARRAY JOIN in_map AS name, of_map AS x
WHERE name IN {{measured:Array(String)}} GROUP BY named
"""


def names_in(store: Store, source: str, params: Mapping[str, object]) -> dict[MapRole, list[str]]:
    """The names that some rows carry, in order; maps that none of them has are left out."""
    sql = _NAMES.format(source=source, **{role: f"groupUniqArrayArray({names})" for role, (names, _) in PAIRS.items()})
    [row] = store.query(sql, params)
    found = {role: sorted(map(str, names))[:MAX_NAMES] for role, names in zip(PAIRS, row, strict=True)}
    return {role: names for role, names in found.items() if names}


def measure_map(
    store: Store, role: MapRole, names: Iterable[str], source: str, params: Mapping[str, object]
) -> dict[Key, tuple[int, Scale]]:
    """Take the scales of numbers in a map from the rows of ``source``, as :func:`~.scales.measure` does of columns."""
    sql = _MEASURE.format(names=PAIRS[role][0], numbers=PAIRS[role][1], source=source)
    return {
        (role, name): (rows, scale_of(quartiles, std, rows, "rows"))
        for name, rows, quartiles, std in store.query(sql, {**params, "measured": list(names)})
        if rows
    }


def map_columns(names: Mapping[MapRole, Sequence[str]]) -> list[Column]:
    """These names as columns over a served table, whose expressions refer to the parameters of :func:`map_parameters`. Looking up
    one name after the other costs with the square of their number: for a few of them."""
    columns = []
    for role, of_role in names.items():
        in_map, of_map = PAIRS[role]
        for position, name in enumerate(of_role, 1):
            at = f"indexOf({in_map}, {{{role}_names:Array(String)}}[{position}])"
            columns.append(Column(role, name, number=f"if({at} > 0, ({of_map})[{at}], NULL)"))
    return columns


def map_parameters(names: Mapping[MapRole, Sequence[str]]) -> dict[str, object]:
    """What :func:`map_columns` refer to."""
    return {f"{role}_names": list(of_role) for role, of_role in names.items()}
