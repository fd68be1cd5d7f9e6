"""Work that is asked for, made in the background and kept: what is written down of it, in a table of its kind.

The tables (``reports``, ``row_skews``, ``multivariate_drifts``) have the same columns; the newest note
of a job is the one that holds.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import msgspec
import pyarrow as pa

from upshot.errors import UpshotError
from upshot_joiner.clock import to_micros
from upshot_joiner.store.client import Store

_log = logging.getLogger("upshot.monitoring")

_READ = """
SELECT id, model, status, request, result, error, created_at FROM {table} FINAL
WHERE {where} ORDER BY created_at DESC, version DESC LIMIT 200
"""


@dataclass(frozen=True)
class Job:
    """What was asked for."""

    id: str
    model: str
    request: dict[str, Any]
    created_at: datetime


@dataclass(frozen=True)
class KeptJob:
    """A job as it stands: ``queued``, ``running``, ``done`` (with a result) or ``failed`` (with an error)."""

    job: Job
    status: str
    result: dict[str, Any] | None
    error: str | None


class KeptJobs:
    """The notes about jobs of one kind. Every method may be called from any thread."""

    def __init__(self, store: Store, table: Literal["reports", "row_skews", "multivariate_drifts"], owner: str) -> None:
        """``owner``: this server, among those that share the store."""
        self._store = store
        self._table = table
        self._owner = owner
        self._lock = threading.Lock()
        self._last_version = 0

    def note(self, job: Job, status: str, *, result: dict[str, Any] | None = None, error: str = "") -> None:
        """Write down how a job stands."""
        with self._lock:
            self._last_version = max(self._last_version + 1, time.time_ns() // 1000)
            version = self._last_version
        self._store.insert(
            self._table,
            pa.table(
                {
                    "id": [job.id],
                    "model": [job.model],
                    "status": [status],
                    "request": [msgspec.json.encode(job.request).decode()],
                    "result": [msgspec.json.encode(result).decode() if result is not None else ""],
                    "error": [error],
                    "owner": [self._owner],
                    "created_at": pa.array([to_micros(job.created_at)], pa.int64()).cast(pa.timestamp("us", "UTC")),
                    "version": pa.array([version], pa.uint64()),
                }
            ),
        )

    def note_failure(self, job: Job, error: str) -> None:
        """Write down that a job failed, if the store takes it: else the next start does."""
        try:
            self.note(job, "failed", error=error)
        except UpshotError:
            _log.exception("the failure of a job (%s) could not be written down", self._table)

    def unfinished(self) -> list[Job]:
        """What this server left when it stopped."""
        where = "status IN ('queued', 'running') AND owner = {owner:String}"
        return [kept.job for kept in self._read(where, {"owner": self._owner})]

    def of_model(self, model: str) -> list[KeptJob]:
        """The jobs of a model, newest first."""
        return self._read("model = {model:String}", {"model": model})

    def get(self, id_: str) -> KeptJob | None:
        """One job; None for an unknown ID."""
        return next(iter(self._read("id = {id:String}", {"id": id_})), None)

    def _read(self, where: str, params: dict[str, object]) -> list[KeptJob]:
        return [
            KeptJob(
                Job(id_, model, json.loads(request), created_at),
                status,
                json.loads(result) if result else None,
                error or None,
            )
            for id_, model, status, request, result, error, created_at in self._store.query(
                _READ.format(table=self._table, where=where), params
            )
        ]
