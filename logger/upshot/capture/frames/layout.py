"""Which column of a frame holds what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Layout", "MissingColumnError", "UnreadableColumnError"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Names of columns, by what they hold; ``Logger.log_frame`` says more of each."""

    prediction: str = "prediction"
    probabilities: Mapping[Any, str] | None = None
    """Class -> column."""
    request_id: str | None = None
    item_id: str | None = None
    features: Sequence[str] | Mapping[str, str] | None = None
    """Columns, or feature -> column; None: every column that nothing else names."""
    predicted_at: Any = None
    """A column, or one moment for all rows; None: now."""
    entities: Mapping[str, str] | None = None
    """Type -> column."""
    tags: Mapping[str, str] | None = None
    """Tag -> column."""
    feature_times: Mapping[str, str] | None = None
    """Feature -> column of moments."""
    inputs: Mapping[str, str] | None = None
    """Input -> column."""
    attributions: Mapping[str, str] | None = None
    """Feature -> column of contributions."""
    action: str | None = None
    propensity: str | float | None = None
    """A column, or one number for all rows."""
    shown: str | bool | None = None
    """A column, or one answer for all rows."""


class MissingColumnError(Exception):
    """The frame lacks a column without which its rows are no predictions. ``role``: the argument that names it."""

    def __init__(self, column: str, role: str) -> None:
        super().__init__(column, role)
        self.column = column
        self.role = role


class UnreadableColumnError(Exception):
    """A column without which rows are no predictions cannot be converted."""

    def __init__(self, column: str) -> None:
        super().__init__(column)
        self.column = column
