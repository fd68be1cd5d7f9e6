"""Exports as jobs: queued, made one after the other in the background, remembered, and made again when a crash cut one off."""

from __future__ import annotations

import logging
import queue
import shutil
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from upshot_joiner.clock import Clock, Stamper, to_micros
from upshot_joiner.config import ConfigStore
from upshot_joiner.errors import Problem, StoreError, unknown_model
from upshot_joiner.export.request import ExportRequest
from upshot_joiner.export.training_set import TrainingSet
from upshot_joiner.feed.records import FeedRecords, intervals
from upshot_joiner.store import rows
from upshot_joiner.store.client import Store
from upshot_joiner.store.entities import EntityTypes
from upshot_joiner.store.served import ServedTables

_log = logging.getLogger("upshot.export")

_LOAD = (
    "SELECT id, status, request, manifest, location, error, created_at, owner FROM exports FINAL ORDER BY created_at"
)


@dataclass(frozen=True)
class _Job:
    id: str
    status: str
    request: ExportRequest
    location: str
    created_at: datetime
    manifest: dict[str, Any] | None = None
    error: str = ""
    progress: float = 0.0
    owner: str = ""
    """Which server makes it and has its files."""

    def answer(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "status": self.status,
            "progress": self.progress,
            "location": self.location,
            "created_at": self.created_at,
            "request": self.request.model_dump(mode="json"),
            "manifest": self.manifest,
            "error": self.error or None,
        }


class Exporter:
    """Makes, lists and hands out exports. Every method may be called from any thread."""

    def __init__(
        self,
        store: Store,
        served: ServedTables,
        configs: ConfigStore,
        clock: Clock,
        stamper: Stamper,
        barrier: Callable[[], Future[datetime]],
        folder: Path,
        entities: EntityTypes,
        owner: str = "",
        wait_for_others: Callable[[datetime], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._served = served
        self._configs = configs
        self._clock = clock
        self._stamper = stamper
        self._barrier = barrier
        self._folder = folder
        self._owner = owner
        self._wait_for_others = wait_for_others
        self._entities = entities
        self._feeds = FeedRecords(store)
        self._lock = threading.Lock()
        self._closing = False
        self._queue: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._jobs: dict[str, _Job] = {}
        self._load()
        self._thread = threading.Thread(target=self._work, name="upshot-exporter", daemon=True)

    def _load(self) -> None:
        """Read the jobs of other servers anew, and at the start our own."""
        for id_, status, request, manifest, location, error, created_at, owner in self._store.query(_LOAD):
            if id_ in self._jobs and owner == self._owner:
                continue
            self._jobs[id_] = _Job(
                id_,
                status,
                ExportRequest.model_validate_json(request),
                location,
                created_at,
                msgspec.json.decode(manifest) if manifest else None,
                error,
                1.0 if status == "done" else 0.0,
                owner,
            )

    def start(self) -> None:
        """Begin to work; what a crash cut off is made again, as of the same moment."""
        for job in self._jobs.values():
            if job.status in ("queued", "running") and job.owner == self._owner:
                self._queue.put(job.id)
        self._thread.start()

    def close(self) -> None:
        """Finish the export being made and stop; queued ones are made after the next start."""
        if self._thread.is_alive():
            self._closing = True
            self._queue.put(None)
            self._thread.join(timeout=120)

    def submit(self, request: ExportRequest) -> dict[str, Any]:
        """Queue an export. Raises a :class:`Problem` for an unknown model, a moment in the future, or a taken destination."""
        if self._served.table(request.model) is None and request.model not in self._configs.models():
            raise unknown_model()
        if request.start and request.end and request.start >= request.end:
            raise Problem(422, "empty_range", "start must be before end.", [{"loc": "start", "code": "not_before_end"}])
        if request.as_of and request.as_of > self._clock.now():
            raise Problem(
                422,
                "as_of_in_the_future",
                "What will be known at a later moment cannot be exported yet.",
                [{"loc": "as_of", "code": "in_the_future"}],
            )
        # Everything stamped before the barrier is stored, everything stored later is stamped after it: here, then everywhere.
        barrier = self._barrier().result()
        self._wait_for_others(min(barrier, request.as_of) if request.as_of else barrier)
        self._learn()
        if not request.force:
            self._refuse_if_censored(request.fixed_as_of(request.as_of or barrier))
        with self._lock:
            id_ = uuid.uuid4().hex
            location = (self._folder / (request.destination or id_)).absolute()
            if any(_overlap(location, Path(job.location)) for job in self._jobs.values()) or _holds_something(location):
                raise Problem(
                    409,
                    "destination_exists",
                    "The destination holds something already.",
                    [{"loc": "destination", "code": "exists"}],
                )
            job = _Job(
                id_,
                "queued",
                request.fixed_as_of(request.as_of or barrier),
                str(location),
                self._clock.now(),
                owner=self._owner,
            )
            self._keep(job)
        self._queue.put(id_)
        return job.answer()

    def list(self, model: str | None = None) -> list[dict[str, Any]]:
        """All exports (of a model), newest first."""
        self._learn()
        with self._lock:
            jobs = [job for job in self._jobs.values() if model is None or job.request.model == model]
        return [job.answer() for job in sorted(jobs, key=lambda job: job.created_at, reverse=True)]

    def get(self, id_: str) -> dict[str, Any]:
        """One export; a 404 :class:`Problem` for an unknown ID."""
        self._learn()
        return self._job(id_).answer()

    def file(self, id_: str, path: str) -> Path:
        """A file of a finished export, as its manifest names it; a 404 :class:`Problem` for anything else."""
        self._learn()
        job = self._job(id_)
        names = {"manifest.json", *(file["path"] for file in (job.manifest or {}).get("files", []))}
        if job.status != "done" or path not in names:
            raise Problem(404, "unknown_file", "The export has no such file.")
        file = Path(job.location) / path
        if job.owner != self._owner and not file.exists():
            raise Problem(
                409, "on_another_server", "The server that made the export has its files, and this is another."
            )
        return file

    def _learn(self) -> None:
        """Learn of what other servers made."""
        if self._store.is_shared:
            with self._lock:
                self._load()

    def _job(self, id_: str) -> _Job:
        with self._lock:
            job = self._jobs.get(id_)
        if job is None:
            raise Problem(404, "unknown_export", "No export has this ID.")
        return job

    def _work(self) -> None:
        while True:
            id_ = self._queue.get()
            if id_ is None or self._closing:
                return
            self._make(id_)

    def _make(self, id_: str) -> None:
        with self._lock:
            job = replace(self._jobs[id_], status="running", progress=0.0)
            self._keep(job)
        folder = Path(job.location)
        try:
            if folder.exists():
                shutil.rmtree(folder)
            manifest = self._training_set(job.request).write(folder, lambda share: self._progress(id_, share))
            done = replace(job, status="done", progress=1.0, manifest=manifest)
        except (StoreError, OSError) as error:
            _log.exception("export %s failed", id_)
            reason = "disk" if isinstance(error, OSError) else f"store, code {error.code}"
            done = replace(
                job, status="failed", error=f"The export could not be made ({reason}); see the server's log."
            )
        except Exception:  # noqa: BLE001  # one export must not end the exporter
            _log.exception("export %s failed", id_)
            done = replace(job, status="failed", error="The export could not be made; see the server's log.")
        with self._lock:
            self._keep(done)

    def _training_set(self, request: ExportRequest) -> TrainingSet:
        as_of = request.as_of or self._clock.now()
        config = self._configs.as_of(request.model, as_of)
        return TrainingSet(
            self._store,
            self._served,
            config,
            request,
            attributed=self._entities.any,
            silences=self._feeds.silences_as_of(request.model, as_of),
        )

    def _refuse_if_censored(self, request: ExportRequest) -> None:
        """A 409 :class:`Problem` while the range holds rows whose outcome a silent feed left open."""
        silences = self._feeds.silences_as_of(request.model, request.as_of or self._clock.now())
        if not silences:
            return
        censored = {name: count for name, count in self._training_set(request).censored().items() if count}
        if censored:
            raise Problem(
                409,
                "label_feed_silent",
                f"At least {sum(censored.values()):,} rows of this range are censored: their window closed while the feed of their "
                "label was silent. Wait for the labels, declare the silence void, or export them as censored with force.",
                [{"loc": f"labels.{name}", "code": "silent"} for name in censored],
                extra={
                    "censored": censored,
                    "silences": {name: intervals(silences[name]) for name in censored},
                },
            )

    def _progress(self, id_: str, share: float) -> None:
        with self._lock:
            self._jobs[id_] = replace(self._jobs[id_], progress=round(share, 4))

    def _keep(self, job: _Job) -> None:
        self._jobs[job.id] = job
        self._store.insert(
            "exports",
            pa.table(
                {
                    "id": [job.id],
                    "status": [job.status],
                    "request": [job.request.model_dump_json()],
                    "manifest": [msgspec.json.encode(job.manifest).decode() if job.manifest else ""],
                    "location": [job.location],
                    "error": [job.error],
                    "owner": [job.owner],
                    "created_at": pa.array([job.created_at], rows.TIME),
                    "version": pa.array([to_micros(self._stamper.next())], pa.uint64()),
                }
            ),
        )


def _overlap(one: Path, other: Path) -> bool:
    """The same folder, or one inside the other: making one again would remove the other."""
    return one == other or one in other.parents or other in one.parents


def _holds_something(folder: Path) -> bool:
    return folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
