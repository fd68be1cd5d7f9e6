"""Comparisons as jobs: queued, made one after the other in a worker process, and kept."""

from __future__ import annotations

import json
import logging
import queue
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from upshot.errors import UpshotError
from upshot_joiner.clock import Clock
from upshot_joiner.config import ConfigStore
from upshot_joiner.errors import Problem, StoreUnavailable
from upshot_joiner.store.client import Store
from upshot_monitoring.kept_jobs import Job, KeptJob, KeptJobs
from upshot_monitoring.multivariate.as_code import comparison_as_code
from upshot_monitoring.multivariate.judged import judge
from upshot_monitoring.multivariate.prepare import CannotCompare
from upshot_monitoring.multivariate.question import Question, read
from upshot_monitoring.worker_process import WorkerBroken, WorkerLate, WorkerProcess, WorkerStopped

_log = logging.getLogger("upshot.monitoring")

TIMEOUT_S = 600.0
"""Two samples of 5,000 rows take 6 s of processor time with 30 features and 36 s with 400; on a busy machine, longer."""
MAX_WAITING = 20
KEPT_SAMPLES = 20
"""Of a model: so many comparisons can be made again from their samples; of earlier ones the result is kept, and the samples not."""
_WORKER = "upshot_monitoring.multivariate.worker"
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""The server serves meanwhile; and sums in one order are the same numbers each time."""
_RAW = ("reference.parquet", "current.parquet", "request.json", "result.json")
_CUT_OFF = "the server stopped before it was compared; ask for it again"

Prepare = Callable[[str, Question, Path], dict[str, Any]]
"""Writes a worker's files for (model, question) into a folder, and returns what the comparison is about."""
Kept = Callable[[Job, Question, dict[str, Any] | None, str], None]
"""Told of each verdict on a closed window: its result, or None and why there is none."""


class MultivariateDrifts:
    """A queue, one thread, and a worker process per comparison. Every method may be called from any thread."""

    def __init__(
        self,
        store: Store,
        configs: ConfigStore,
        clock: Clock,
        folder: Path,
        prepare: Prepare,
        *,
        timeout_s: float = TIMEOUT_S,
        owner: str = "",
    ) -> None:
        self._configs = configs
        self._clock = clock
        self._folder = folder
        self._prepare = prepare
        self._timeout_s = timeout_s
        self._kept = KeptJobs(store, "multivariate_drifts", owner)
        self._worker = WorkerProcess()
        self._queue: queue.Queue[Job | None] = queue.Queue()
        self._waiting: dict[str, tuple[str, Question]] = {}
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self.keep: Kept = lambda *_: None
        """Set once, before the start."""

    def start(self) -> None:
        """Begin to compare. What a stopped server left unfinished is marked as failed, and cleared away."""
        for job in self._kept.unfinished():
            shutil.rmtree(self._folder / job.id, ignore_errors=True)
            self._kept.note(job, "failed", error=_CUT_OFF)
        self._thread = threading.Thread(target=self._work, name="upshot-multivariate", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop; a comparison that is being made is given up."""
        self._closing.set()
        self._queue.put(None)
        self._worker.end()
        if self._thread is not None:
            self._thread.join(timeout=30)

    def submit(self, model: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Ask for a comparison; returns its ``id`` and ``status``. Raises a 422 :class:`Problem` for a question that makes no
        sense, and a 503 when too many are waiting."""
        question = read(request, self._configs.get(model).drift)
        if self._queue.qsize() >= MAX_WAITING:
            raise Problem(503, "overloaded", "Too many comparisons are waiting; try again later.", retry_after_s=30)
        job = Job(uuid4().hex, model, dict(request), self._clock.now())
        self._kept.note(job, "queued")
        self._waiting[job.id] = (model, question)
        self._queue.put(job)
        return {"id": job.id, "status": "queued"}

    def waiting(self, model: str) -> list[Question]:
        """What is queued or being compared here."""
        return [question for of, question in list(self._waiting.values()) if of == model]

    def get(self, id_: str) -> dict[str, Any]:
        """A comparison and, once done, its result. Raises a 404 :class:`Problem` for an unknown ID."""
        kept = self._kept.get(id_)
        if kept is None:
            raise Problem(404, "unknown_multivariate_drift", "No comparison of this ID is known.")
        return self._described(kept)

    def list(self, model: str) -> list[dict[str, Any]]:
        """The comparisons of a model, newest first, without the names of their features."""
        found = [self._described(kept) for kept in self._kept.of_model(model)]
        for one in found:
            if one["result"] is not None:
                one["result"] = {
                    name: value for name, value in one["result"].items() if name not in ("features", "left_out")
                }
        return found

    def code(self, id_: str, url: str) -> str:
        """The lines of Python that make a comparison again from its samples. Raises a 404 :class:`Problem` without them."""
        found = self.get(id_)
        methods = [one for one in (found["result"] or {}).get("methods", ()) if one["statistic"] is not None]
        if not methods or not all(
            (self._folder / found["id"] / f"{one['method']}.parquet").is_file() for one in methods
        ):
            raise _no_samples()
        return comparison_as_code(found["id"], methods, url)

    def file(self, id_: str, name: str) -> Path:
        """The numbers that a method learnt from and judged. Raises a 404 :class:`Problem` where they are not kept."""
        found = self.get(id_)
        known = {f"{one['method']}.parquet" for one in (found["result"] or {}).get("methods", ())}
        file = self._folder / str(found["id"]) / name
        if name not in known or not file.is_file():
            raise _no_samples()
        return file

    def _work(self) -> None:
        while not self._closing.is_set():
            job = self._queue.get()
            if job is None:
                return
            try:
                self._do(job)
            except WorkerStopped:
                self._kept.note_failure(job, _CUT_OFF)
                return
            except StoreUnavailable:
                self._kept.note_failure(job, "the store went away meanwhile; ask for it again")
            except Exception:  # noqa: BLE001  # nobody would notice that this thread died
                _log.exception("what came of a comparison could not be kept")
            finally:
                self._waiting.pop(job.id, None)

    def _do(self, job: Job) -> None:
        """Compare, and write down what came of it, a failure too. Raises WorkerStopped, and StoreError where the store is away."""
        result, error = None, ""
        self._kept.note(job, "running")
        try:
            result = self._compare(job)
        except (WorkerStopped, StoreUnavailable):
            raise
        except (CannotCompare, _WorkerFailed) as found:
            error = str(found)
        except Problem as problem:
            error = problem.title
        except Exception:  # noqa: BLE001  # a comparison's failure is its status; the next one is still made
            _log.exception("a multivariate comparison failed")
            error = "something went wrong here; it is in the server's log"
        question = self._waiting[job.id][1]
        if question.revision is not None:
            self.keep(
                job, question, result, error
            )  # first: a window that is done and has no verdict would be asked for again
        if error:
            self._kept.note_failure(job, error)
        else:
            self._kept.note(job, "done", result=result)
        for kept in self._kept.of_model(job.model)[KEPT_SAMPLES:]:
            shutil.rmtree(self._folder / kept.job.id, ignore_errors=True)

    def _compare(self, job: Job) -> dict[str, Any]:
        began = time.monotonic()
        drift = self._configs.get(job.model).drift
        question = read(job.request, drift)
        folder = self._folder / job.id
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            about = self._prepare(job.model, question, folder)
            self._run(folder)
            found = json.loads((folder / "result.json").read_text("utf-8"))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        for name in _RAW:  # as served, and not needed any more
            (folder / name).unlink(missing_ok=True)
        left_out = about["left_out"] + found["left_out"]
        methods = judge(found["methods"], question.thresholds, drift.false_discovery_rate)
        return {
            **about,
            "methods": methods,
            "drifted": sum(one["verdict"] == "drift" for one in methods),
            "features": found["features"],
            "columns": found["columns"],
            "left_out": left_out,
            "counts": {"compared": len(found["features"]), "left_out": len({one["feature"] for one in left_out})},
            "false_discovery": {
                "procedure": "benjamini_yekutieli",
                "rate": drift.false_discovery_rate,
                "tested": sum(one["statistic"] is not None for one in methods),
            },
            "took_s": round(time.monotonic() - began, 3),
        }

    def _run(self, folder: Path) -> None:
        try:
            self._worker.run(_WORKER, folder, self._timeout_s, _ENVIRONMENT)
        except WorkerLate:
            raise _WorkerFailed(
                f"it was not done after {self._timeout_s:g} s; ask for fewer rows or features"
            ) from None
        except WorkerBroken:
            raise _WorkerFailed("the worker ended with an error; it is in the server's log") from None

    def _described(self, kept: KeptJob) -> dict[str, Any]:
        has_samples = kept.status == "done" and (self._folder / kept.job.id).is_dir()
        return {
            "id": kept.job.id,
            "model": kept.job.model,
            "status": kept.status,
            "request": kept.job.request,
            "result": kept.result,
            "error": kept.error,
            "created_at": kept.job.created_at,
            "code": f"/v1/multivariate-drifts/{kept.job.id}?code=true" if has_samples else None,
        }


class _WorkerFailed(UpshotError):
    """A worker did not do its work; the message says why."""


def _no_samples() -> Problem:
    return Problem(404, "samples_not_kept", "The samples of this comparison are not here (any more, or yet).")
