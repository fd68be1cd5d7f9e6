"""The register of planes: who built each tail number, and how old it was in 2013."""

from __future__ import annotations

from typing import NamedTuple

from upshot_server.demo.dataset import rows_of

YEAR = 2013


class Plane(NamedTuple):
    """One plane; ``None`` is what the register does not say."""

    manufacturer: str | None = None
    age: int | None = None
    """Years in 2013."""


UNKNOWN = Plane()


class Planes:
    """The planes by tail number."""

    def __init__(self, planes: dict[str, Plane]) -> None:
        self._planes = planes

    @classmethod
    def load(cls) -> Planes:
        """The register of 2013."""
        return cls(
            {
                row["tailnum"]: Plane(row["manufacturer"] or None, YEAR - int(row["year"]) if row["year"] else None)
                for row in rows_of("planes.csv")
            }
        )

    def of(self, tail: str | None) -> Plane:
        """The plane with this tail number."""
        return self._planes.get(tail or "", UNKNOWN)
