"""Rows of frames in the books of a writer: as many events at once, each with its ``seq`` number."""

from __future__ import annotations

from typing import Any

from upshot.writer import Writer

__all__ = ["drop", "drop_numbered", "length"]


def drop(writer: Writer, n_rows: int, reason: str, why: str) -> None:
    """Count rows as accepted and dropped, and say so. ``why`` may name columns, and holds no value."""
    writer.ledger.accepted.raise_by(n_rows)
    drop_numbered(writer, n_rows, reason, why)


def drop_numbered(writer: Writer, n_rows: int, reason: str, why: str) -> None:
    """The same for rows that were counted as accepted already, when they were numbered."""
    with writer.ledger.lock:
        writer.ledger.dropped[reason] += n_rows
    writer.complaints.note(f"{reason} {why}", f"{why}; rows dropped: {n_rows} (stats() counts all)")


def length(frame: Any) -> int:
    """How many rows a frame has; 0 when it does not tell before it is read."""
    for ask in (len, lambda it: it.shape[0]):
        try:
            return int(ask(frame))
        except Exception:  # noqa: BLE001, S112  # a stream has no length, and other people's code may raise anything
            continue
    return 0
