"""Makes Evidently reports on demand, one at a time, and keeps them."""

from __future__ import annotations

import json
import logging
import queue
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

from upshot.errors import UpshotError
from upshot_joiner.clock import Clock
from upshot_joiner.errors import Problem
from upshot_joiner.store.client import Store
from upshot_monitoring.kept_jobs import Job, KeptJob, KeptJobs
from upshot_monitoring.reports.as_code import report_as_code
from upshot_monitoring.reports.shown import shown
from upshot_monitoring.reports.suite import suite_of
from upshot_monitoring.worker_process import WorkerBroken, WorkerLate, WorkerProcess, WorkerStopped

_log = logging.getLogger("upshot.monitoring")

TIMEOUT_S = 180.0
MAX_WAITING = 20
_WORKER = "upshot_monitoring.reports.evidently_worker"

FILES = ("request.json", "reference.parquet", "current.parquet")
"""What a report was made from, kept beside it: what is pinned of each column, and the samples of both sides."""

Prepare = Callable[[str, dict[str, Any], Path], dict[str, Any]]
"""Writes a worker's files for (model, request) into a folder, and returns what the report is about."""


class ReportFailed(UpshotError):
    """A report could not be made; the message says why, for the person who asked."""


class Reports:
    """A queue, one thread, and a worker process per report. Every method may be called from any thread."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        folder: Path,
        prepare: Prepare,
        *,
        timeout_s: float = TIMEOUT_S,
        owner: str = "",
    ) -> None:
        self._store = store
        self._clock = clock
        self._folder = folder
        self._prepare = prepare
        self._timeout_s = timeout_s
        self._kept = KeptJobs(store, "reports", owner)
        self._queue: queue.Queue[Job | None] = queue.Queue()
        self._worker = WorkerProcess()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to make reports. Those that a stopped server left unfinished are marked as failed."""
        for job in self._kept.unfinished():
            self._kept.note(job, "failed", error="the server stopped before the report was made; ask for it again")
        self._thread = threading.Thread(target=self._work, name="upshot-reports", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop; a report that is being made is given up."""
        self._closing.set()
        self._queue.put(None)
        self._worker.end()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def submit(self, model: str, request: dict[str, Any]) -> dict[str, Any]:
        """Ask for a report; returns its ``id`` and ``status``. Raises a 503 :class:`Problem` when too many are waiting."""
        if self._queue.qsize() >= MAX_WAITING:
            raise Problem(503, "overloaded", "Too many reports are waiting; try again later.", retry_after_s=30)
        job = Job(uuid4().hex, model, request, self._clock.now())
        self._kept.note(job, "queued")
        self._queue.put(job)
        return {"id": job.id, "status": "queued"}

    def get(self, report_id: str) -> dict[str, Any]:
        """A report's status and, once done, its result. Raises a 404 :class:`Problem` for an unknown ID."""
        kept = self._kept.get(report_id)
        if kept is None:
            raise Problem(404, "unknown_report", "No report of this ID is known.")
        return _described(kept)

    def list(self, model: str) -> list[dict[str, Any]]:
        """The reports of a model, newest first."""
        return [_described(kept) for kept in self._kept.of_model(model)]

    def html(self, report_id: str) -> Path:
        """The page. Raises a 404 :class:`Problem` while there is none."""
        known = self.get(report_id)
        page = self._folder / str(known["id"]) / "report.html"
        if known["status"] != "done" or not page.is_file():
            raise Problem(404, "report_not_ready", "This report has no page (yet).")
        return page

    def file(self, report_id: str, name: str) -> Path:
        """One of :data:`FILES`. Raises a 404 :class:`Problem` for any other name, and for a report without it."""
        file = self.html(report_id).parent / name
        if name not in FILES or not file.is_file():
            raise Problem(404, "unknown_file", "This report has no such file.")
        return file

    def code(self, report_id: str, url: str) -> str:
        """The lines of Python that make the report again from its samples. Raises a 404 :class:`Problem` while there is none."""
        return report_as_code(report_id, json.loads(self.file(report_id, "request.json").read_text("utf-8")), url)

    def _work(self) -> None:
        while not self._closing.is_set():
            job = self._queue.get()
            if job is None:
                return
            try:
                self._kept.note(job, "running")
                self._kept.note(job, "done", result=self._make(job))
            except ReportFailed as error:
                self._kept.note_failure(job, str(error))
            except Problem as problem:
                self._kept.note_failure(job, problem.title)
            except Exception:  # noqa: BLE001  # a report's failure is its status; the next one is still made
                _log.exception("a report failed")
                self._kept.note_failure(job, "something went wrong here; it is in the server's log")

    def _make(self, job: Job) -> dict[str, Any]:
        folder = self._folder / job.id
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            about = self._prepare(job.model, job.request, folder)
            self._run_worker(folder)
            made = json.loads((folder / "report.json").read_text("utf-8"))
            suite = suite_of(made, about.get("features", []), about.get("left_out", []), shown=shown)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return {**about, "suite": suite, "evidently": made}

    def _run_worker(self, folder: Path) -> None:
        environment = {"DO_NOT_TRACK": "1", "MPLBACKEND": "agg", "MPLCONFIGDIR": str(folder)}
        try:
            self._worker.run(_WORKER, folder, self._timeout_s, environment)
        except WorkerStopped:
            raise ReportFailed("the server stopped before the report was made; ask for it again") from None
        except WorkerLate:
            raise ReportFailed(f"Evidently was not done after {self._timeout_s:g} s") from None
        except WorkerBroken:
            raise ReportFailed("Evidently could not make the report; its error is in the server's log") from None


def _described(kept: KeptJob) -> dict[str, Any]:
    is_done = kept.status == "done"
    return {
        "id": kept.job.id,
        "model": kept.job.model,
        "status": kept.status,
        "request": kept.job.request,
        "result": kept.result,
        "error": kept.error,
        "created_at": kept.job.created_at,
        "html": f"/v1/reports/{kept.job.id}/html" if is_done else None,
        "code": f"/v1/reports/{kept.job.id}/code" if is_done else None,
    }
