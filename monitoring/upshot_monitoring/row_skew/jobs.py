"""Comparisons as jobs: queued, made one after the other in the background, and kept."""

from __future__ import annotations

import hashlib
import logging
import queue
import shutil
import threading
from pathlib import Path
from typing import Any
from uuid import uuid4

from upshot.errors import UpshotError
from upshot_joiner.clock import Clock, from_micros
from upshot_joiner.errors import Problem, StoreUnavailable
from upshot_joiner.store.client import Store
from upshot_joiner.store.served import ServedTables
from upshot_monitoring.kept_jobs import Job, KeptJob, KeptJobs
from upshot_monitoring.row_skew.compare import compare, staging_table
from upshot_monitoring.row_skew.rule import read_rule
from upshot_monitoring.row_skew.table import Form, RecomputedTable

_log = logging.getLogger("upshot.monitoring")

MAX_WAITING = 5
"""Each has its table on disk."""
_CUT_OFF = "the server stopped before the table was compared; send it again"


class _Stopped(UpshotError):
    """The server is stopping."""


class RowSkews:
    """A queue and one thread. Every method may be called from any thread.

    The table of a comparison is kept in ``folder`` until it is compared; a server that stops in between fails it.
    """

    def __init__(self, store: Store, served: ServedTables, clock: Clock, folder: Path, *, owner: str = "") -> None:
        self._store = store
        self._served = served
        self._clock = clock
        self._folder = folder
        self._kept = KeptJobs(store, "row_skews", owner)
        self._queue: queue.Queue[Job | None] = queue.Queue()
        self._progress: dict[str, float] = {}
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to compare. What a stopped server left unfinished is marked as failed, and cleared away."""
        for job in self._kept.unfinished():
            self._store.command(f"DROP TABLE IF EXISTS {staging_table(job.id)} SYNC")
            (self._folder / job.id).unlink(missing_ok=True)  # not the folder: servers on one machine may share it
            self._kept.note(job, "failed", error=_CUT_OFF)
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
        job = Job(uuid4().hex, model, {**request, "form": form, "sha256": _digest(file)}, self._clock.now())
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        shutil.move(file, self._folder / job.id)
        try:
            self._kept.note(job, "queued")
        except UpshotError:
            (self._folder / job.id).unlink(missing_ok=True)
            raise
        self._queue.put(job)
        return {"id": job.id, "status": "queued"}

    def get(self, id_: str) -> dict[str, Any]:
        """A comparison and, once done, its result. Raises a 404 :class:`Problem` for an unknown ID."""
        kept = self._kept.get(id_)
        if kept is None:
            raise Problem(404, "unknown_row_skew", "No comparison of this ID is known.")
        return self._described(kept)

    def list(self, model: str) -> list[dict[str, Any]]:
        """The comparisons of a model, newest first, without their features."""
        found = [self._described(kept) for kept in self._kept.of_model(model)]
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
                self._kept.note(job, "running")
                self._kept.note(job, "done", result=self._compare(job))
            except _Stopped:
                self._kept.note_failure(job, _CUT_OFF)
            except Problem as problem:
                places = ", ".join(f"{one.get('loc', '')}: {one.get('code', '')}" for one in problem.errors[:5])
                self._kept.note_failure(job, f"{problem.title}{f' ({places})' if places else ''}")
            except StoreUnavailable:
                self._kept.note_failure(job, "the store went away while the table was compared; send it again")
            except Exception:  # noqa: BLE001  # a comparison's failure is its status; the next one is still made
                _log.exception("a comparison of recomputed values failed")
                self._kept.note_failure(job, "something went wrong here; it is in the server's log")
            finally:
                self._progress.pop(job.id, None)
                (self._folder / job.id).unlink(missing_ok=True)

    def _compare(self, job: Job) -> dict[str, Any]:
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

    def _described(self, kept: KeptJob) -> dict[str, Any]:
        result = kept.result and {**kept.result, "as_of": from_micros(kept.result["as_of"])}
        asked = dict(kept.job.request)
        if asked.get("as_of") is not None:
            asked["as_of"] = from_micros(asked["as_of"])
        return {
            "id": kept.job.id,
            "model": kept.job.model,
            "status": kept.status,
            "progress": 1.0 if kept.status == "done" else self._progress.get(kept.job.id, 0.0),
            "request": asked,
            "result": result,
            "error": kept.error,
            "created_at": kept.job.created_at,
        }


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
