"""Errors of the server side, one tree::

UpshotError                 (from the SDK: everything Upshot raises)
├── Problem                 a request that cannot be answered as asked; becomes ``application/problem+json``
└── StoreError              the store refused or failed
    ├── StoreUnavailable    it may work later: nothing was acknowledged, the sender should try again
    └── StoreLocked         another process owns this data folder
"""

from __future__ import annotations

from typing import TypedDict

from upshot.errors import UpshotError


class Place(TypedDict, total=False):
    """Where in a request something was wrong. Never holds the offending value."""

    index: int
    loc: str
    code: str


class Problem(UpshotError):
    """A request that cannot be answered as asked.

    ``status`` is the HTTP status, ``code`` a stable word for programs, ``title`` a sentence for people, ``errors`` the places.
    """

    def __init__(
        self,
        status: int,
        code: str,
        title: str,
        errors: list[Place] | None = None,
        *,
        retry_after_s: int | None = None,
        extra: dict[str, object] | None = None,
    ) -> None:
        super().__init__(title)
        self.status = status
        self.code = code
        self.title = title
        self.errors = errors or []
        self.retry_after_s = retry_after_s
        self.extra = extra or {}


class StoreError(UpshotError):
    """The store refused or failed. ``code`` is ClickHouse's number for it, 0 where it has none."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class StoreUnavailable(StoreError):
    """The store cannot take writes now (disk full, closed); nothing was acknowledged."""


class StoreLocked(StoreError):
    """Another process has this data folder open; an embedded store belongs to one process."""


def unknown_model() -> Problem:
    """The answer to a question about a model that has never been seen or configured."""
    return Problem(404, "unknown_model", "No prediction and no configuration of this model is known.")
