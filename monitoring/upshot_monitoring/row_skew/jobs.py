"""Comparisons as jobs: queued, made one after the other in the background, and kept."""

from __future__ import annotations

import hashlib
import json
import logging
import queue
import shutil
import threading
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pyarrow as pa

from upshot.errors import UpshotError
from upshot_joiner.clock import Clock, from_micros, to_micros
from upshot_joiner.errors import Problem, StoreUnavailable
from upshot_joiner.store.client import Store
from upshot_joiner.store.served import ServedTables
from upshot_monitoring.row_skew.compare import compare, staging_table
from upshot_monitoring.row_skew.rule import read_rule
from upshot_monitoring.row_skew.table import Form, RecomputedTable

_log = logging.getLogger("upshot.monitoring")

MAX_WAITING = 5
"""Each has its table on disk."""
_READ = """
SELECT id, model, status, request, result, error, created_at FROM row_skews FINAL
WHERE {where} ORDER BY created_at DESC, version DESC LIMIT 200
"""
_CUT_OFF = "the server stopped before the table was compared; send it again"


class _Stopped(UpshotError):
    """The server is stopping."""


@dataclass(frozen=True)
class _Job:
    id: str
    model: str
    request: dict[str, Any]
    created_at: datetime


class RowSkews:
    """A queue and one thread. Every method may be called from any thread.

    The table of a comparison is kept in ``folder`` until it is compared; a server that stops in between fails it.
    """

    def __init__(self, store: Store, served: ServedTables, clock: Clock, folder: Path, *, owner: str = "") -> None:
        self._store = store
        self._served = served
        self._clock = clock
        self._folder = folder
        self._owner = owner
        """This server, among those that share the store."""
        self._queue: queue.Queue[_Job | None] = queue.Queue()
        self._progress: dict[str, float] = {}
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._last_version = 0

    def start(self) -> None:
        """Begin to compare. What a stopped server left unfinished is marked as failed, and cleared away."""
        left = _READ.format(where="status IN ('queued', 'running') AND owner = {owner:String}")
        for row in self._store.query(left, {"owner": self._owner}):
            self._store.command(f"DROP TABLE IF EXISTS {staging_table(row[0])} SYNC")
            (self._folder / row[0]).unlink(missing_ok=True)  # not the folder: servers on one machine may share it
            self._note(_Job(row[0], row[1], json.loads(row[3]), row[6]), "failed", error=_CUT_OFF)
        self._thread = threading.Thread(target=self._work, name="upshot-row-skew", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop; a comparison that is being made is given up."""
        self._closing.set()
        self._queue.put(None)
        if self._thread is not None:
            self._thread.join(timeout=30)

    def check(self) -> None:
        """Raise a 503 :class:`Problem` when too many comparisons are waiting."""
        if self._queue.qsize() >= MAX_WAITING:
            raise Problem(503, "overloaded", "Too many comparisons are waiting; try again later.", retry_after_s=30)

    def submit(self, model: str, file: Path, form: Form, request: dict[str, Any]) -> dict[str, Any]:
        """Take a table (the file is moved away) and queue its comparison; returns its ``id`` and ``status``.

        ``request``: what :func:`~upshot_monitoring.row_skew.rule.read_rule` reads, ``version`` and ``as_of`` (microseconds).
        Raises a 422 :class:`Problem` for columns or rules that are wrong.
        """
        self.check()
        read_rule(request)
        RecomputedTable.open(file, form)
        job = _Job(uuid4().hex, model, {**request, "form": form, "sha256": _digest(file)}, self._clock.now())
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        shutil.move(file, self._folder / job.id)
        try:
            self._note(job, "queued")
        except UpshotError:
            (self._folder / job.id).unlink(missing_ok=True)
            raise
        self._queue.put(job)
        return {"id": job.id, "status": "queued"}

    def get(self, id_: str) -> dict[str, Any]:
        """A comparison and, once done, its result. Raises a 404 :class:`Problem` for an unknown ID."""
        rows = self._store.query(_READ.format(where="id = {id:String}"), {"id": id_})
        if not rows:
            raise Problem(404, "unknown_row_skew", "No comparison of this ID is known.")
        return self._described(rows[0])

    def list(self, model: str) -> list[dict[str, Any]]:
        """The comparisons of a model, newest first, without their features."""
        rows = self._store.query(_READ.format(where="model = {model:String}"), {"model": model})
        found = [self._described(row) for row in rows]
        for one in found:
            if one["result"] is not None:
                one["result"] = {name: value for name, value in one["result"].items() if name != "features"}
        return found

    def _work(self) -> None:
        while not self._closing.is_set():
            job = self._queue.get()
            if job is None:
                return
            try:
                self._note(job, "running")
                self._note(job, "done", result=self._compare(job))
            except _Stopped:
                self._note_failure(job, _CUT_OFF)
            except Problem as problem:
                places = ", ".join(f"{one.get('loc', '')}: {one.get('code', '')}" for one in problem.errors[:5])
                self._note_failure(job, f"{problem.title}{f' ({places})' if places else ''}")
            except StoreUnavailable:
                self._note_failure(job, "the store went away while the table was compared; send it again")
            except Exception:  # noqa: BLE001  # a comparison's failure is its status; the next one is still made
                _log.exception("a comparison of recomputed values failed")
                self._note_failure(job, "something went wrong here; it is in the server's log")
            finally:
                self._progress.pop(job.id, None)
                (self._folder / job.id).unlink(missing_ok=True)

    def _compare(self, job: _Job) -> dict[str, Any]:
        def told(progress: float) -> None:
            if self._closing.is_set():
                raise _Stopped(_CUT_OFF)
            self._progress[job.id] = progress

        return compare(
            *(self._store, self._served, job.model, self._folder / job.id, job.request["form"], read_rule(job.request)),
            id_=job.id,
            version=job.request.get("version"),
            as_of_us=job.request.get("as_of"),
            progress=told,
        )

    def _note_failure(self, job: _Job, error: str) -> None:
        try:
            self._note(job, "failed", error=error)
        except UpshotError:
            _log.exception("the failure of a comparison could not be written down")

    def _note(self, job: _Job, status: str, *, result: dict[str, Any] | None = None, error: str = "") -> None:
        with self._lock:
            self._last_version = max(self._last_version + 1, time.time_ns() // 1000)
            version = self._last_version
        self._store.insert(
            "row_skews",
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

    def _described(self, row: Any) -> dict[str, Any]:
        id_, model, status, request, result, error, created_at = row
        found = json.loads(result) if result else None
        if found is not None:
            found["as_of"] = from_micros(found["as_of"])
        asked = json.loads(request)
        if asked.get("as_of") is not None:
            asked["as_of"] = from_micros(asked["as_of"])
        return {
            "id": id_,
            "model": model,
            "status": status,
            "progress": 1.0 if status == "done" else self._progress.get(id_, 0.0),
            "request": asked,
            "result": found,
            "error": error or None,
            "created_at": created_at,
        }


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
