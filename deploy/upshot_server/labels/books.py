"""Counts of one run: every event that a source stands for is in exactly one of four."""

from __future__ import annotations

import msgspec

from upshot_server.labels.errors import LabelsError


class Books(msgspec.Struct):
    """``rows`` times the events of a row is ``read``; ``read`` = ``accepted`` + ``duplicates`` + ``rejected`` + ``skipped``."""

    rows: int = 0
    """Rows of the source, those among them that are none by themselves (an unreadable line) included."""
    read: int = 0
    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0
    skipped: int = 0
    """An empty cell is no event."""

    def check(self) -> None:
        """Raise when an event is in no count, or in two: better no figure than a wrong one."""
        settled = self.accepted + self.duplicates + self.rejected + self.skipped
        if self.read != settled:
            raise LabelsError(
                f"the counts do not balance: {self.read} read, {settled} settled; this is a bug in Upshot"
            )

    def __add__(self, other: Books) -> Books:
        return Books(*(getattr(self, name) + getattr(other, name) for name in self.__struct_fields__))

    def sentence(self) -> str:
        """For a person."""
        return (
            f"{self.rows:,} rows, {self.read:,} events read: {self.accepted:,} accepted, {self.duplicates:,} duplicates, "
            f"{self.rejected:,} rejected, {self.skipped:,} skipped"
        )
