"""Which rows of two samples belong together: those of one entity where entities are told, else those of one request."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from upshot_monitoring.multivariate.groups import Ints

LEAST_ENTITIES = 100
"""A type with fewer, such as a country, says nothing about which rows are alike."""

Identities = Sequence[dict[str, str]]
"""Per row, by kind: ``request``, ``entity <type>``."""


def groups_of(reference: Identities, current: Identities) -> tuple[Ints, Ints, str]:
    """A number per row, the same for rows of one group on either side, and the kind of the groups.

    The kind is the type of entity with the most different values: the finest. Rows without it count by their request, and
    without that each for itself.
    """
    seen: dict[str, set[str]] = {}
    for row in (*reference, *current):
        for kind, value in row.items():
            if kind != "request":
                seen.setdefault(kind, set()).add(value)
    many = [kind for kind, values in seen.items() if len(values) >= LEAST_ENTITIES]
    chosen = max(sorted(many), key=lambda kind: len(seen[kind]), default="request")
    numbers: dict[tuple[str, str], int] = {}
    found = []
    for side, rows in (("reference", reference), ("current", current)):
        column = np.empty(len(rows), np.int64)
        for i, row in enumerate(rows):
            kind = next((one for one in (chosen, "request") if one in row), "")
            key = (kind, row[kind]) if kind else (side, str(i))
            column[i] = numbers.setdefault(key, len(numbers))
        found.append(column)
    return found[0], found[1], chosen
