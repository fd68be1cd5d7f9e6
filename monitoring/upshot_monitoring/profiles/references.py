"""References: training sets, uploaded as Parquet, kept as a file and as a profile.

The rows are put into a table of their own for a moment and profiled by the very statement that profiles serving, so that what is
compared was computed in the same way.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from upshot_joiner.clock import Clock, to_micros
from upshot_joiner.config import ModelConfig
from upshot_joiner.errors import Problem
from upshot_joiner.store.client import Store
from upshot_monitoring.profiles import rollup
from upshot_monitoring.profiles.columns import Column
from upshot_monitoring.profiles.profile import Profile
from upshot_monitoring.profiles.read import profile_of, rows_of
from upshot_monitoring.profiles.reference_columns import ReferenceColumns, read_columns
from upshot_monitoring.profiles.roller import Roller
from upshot_monitoring.profiles.scales import UNSCALED, Key, Scale, Scales, measure
from upshot_monitoring.profiles.vector_read import lengths_of_reference, with_lengths
from upshot_monitoring.profiles.vector_rollup import vector_statements

_log = logging.getLogger("upshot.monitoring")

MAX_BYTES = 1024 * 1024 * 1024
ROWS_PER_BLOCK = 100_000
_KEY = "{{reference_id:String}} AS reference_id, {role} AS role, {feature} AS feature"
_STAGING = "staged_reference_"
_LEFT_OVER = "SELECT name FROM system.tables WHERE database = currentDatabase() AND startsWith(name, {prefix:String})"
_LIST = """
SELECT id, model_version, rows, columns, created_at FROM model_references FINAL
WHERE model = {model:String} ORDER BY created_at DESC, version DESC
"""
_READ = f"""
SELECT role, feature, scale_id, {", ".join(rollup.COUNTS)}, overflow,
  buckets, counts, sums, sums2, lows, highs, values, value_counts
FROM reference_profiles FINAL WHERE reference_id = {{id:String}}
"""


@dataclass(frozen=True)
class Reference:
    """One uploaded training set; ``model_version`` is empty where it stands for every version without one of its own."""

    id: str
    model_version: str
    rows: int
    features: list[str]
    ignored: list[dict[str, str]]
    """Columns of a type that no feature can have, with that type."""
    created_at: datetime

    def describe(self) -> dict[str, Any]:
        """As in the API's answers."""
        return {
            "id": self.id,
            "model_version": self.model_version,
            "rows": self.rows,
            "features": self.features,
            "ignored": self.ignored,
            "created_at": self.created_at,
        }


class RowsNotKept(Exception):
    """The file of a reference is not here: another server took it, or somebody deleted it."""


class References:
    """The references of every model."""

    def __init__(self, store: Store, scales: Scales, roller: Roller, clock: Clock, folder: Path) -> None:
        self._store = store
        self._scales = scales
        self._roller = roller
        self._clock = clock
        self._folder = folder

    def clean_up(self) -> None:
        """Drop the tables of uploads that a stopped server was in the middle of."""
        for (table,) in self._store.query(_LEFT_OVER, {"prefix": _STAGING}):
            self._store.command(f"DROP TABLE IF EXISTS {table} SYNC")

    def of_model(self, model: str) -> list[Reference]:
        """The references of a model, newest first."""
        found = []
        for reference_id, version, rows, columns, created_at in self._store.query(_LIST, {"model": model}):
            known = json.loads(columns)
            found.append(Reference(reference_id, version, rows, known["features"], known["ignored"], created_at))
        return found

    def for_version(self, model: str, version: str | None) -> Reference | None:
        """What a version is compared with: its own newest reference, else the newest without a version, else the newest."""
        known = self.of_model(model)
        for wanted in ([version] if version else []) + [""]:
            for reference in known:
                if reference.model_version == wanted:
                    return reference
        return known[0] if known else None

    def path(self, reference: Reference) -> Path:
        """The Parquet file, as it was uploaded."""
        return self._folder / f"{reference.id}.parquet"

    def profiles(self, model: str, reference: Reference) -> dict[Key, Profile]:
        """The profile of every column of a reference."""
        pinned = self._scales.read(model)
        by_id = {scale.scale_id: scale for scale in pinned.values()}
        profiles = {
            # A scale that is not pinned any more: the numbers are shown, and nothing is compared with them.
            (row["role"], row["feature"]): profile_of(row, by_id.get(row["scale_id"], Scale(scale_id=row["scale_id"])))
            for row in rows_of(self._store.arrow(_READ, {"id": reference.id}))
        }
        if not any(profile.vectors for profile in profiles.values()):
            return profiles
        return with_lengths(profiles, lengths_of_reference(self._store, reference.id))

    @contextmanager
    def rows(
        self, model: str, reference: Reference, config: ModelConfig, keys: Iterable[Key]
    ) -> Iterator[tuple[str, dict[Key, Column]]]:
        """Some columns of a reference's rows, in a table for as long as this is entered, and the expression of each.

        Raises :class:`RowsNotKept` where this server does not have the file.
        """
        if not self.path(reference).is_file():
            raise RowsNotKept(reference.id)
        parquet = _open(self.path(reference))
        labels = set(parquet.schema_arrow.names) - {f"feature__{name}" for name in reference.features}
        columns = read_columns(parquet.schema_arrow, config, labels - set(reference.features)).only(set(keys))
        staging = f"{_STAGING}{uuid4().hex}"
        try:
            self._stage(parquet, columns, staging)
            yield staging, {(column.role, column.name): column for column in columns.profiled}
        finally:
            self._store.command(f"DROP TABLE IF EXISTS {staging} SYNC")

    def add(
        self, model: str, file: Path, config: ModelConfig, labels: Iterable[str], model_version: str = ""
    ) -> Reference:
        """Keep a Parquet file as a reference. The same file again is the same reference.

        Raises a 422 :class:`Problem` for anything but a readable, non-empty Parquet file with distinct column names.
        """
        parquet = _open(file)
        columns = read_columns(parquet.schema_arrow, config, set(labels))
        reference_id = _identity(file, model, model_version)
        staging = f"{_STAGING}{uuid4().hex}"
        try:
            self._stage(parquet, columns, staging)
            with self._roller.lock:
                self._pin(model, columns.profiled, staging)
                self._profile(model, reference_id, columns.profiled, staging)
        except (pa.ArrowException, OSError) as error:
            raise Problem(422, "invalid_parquet", "The Parquet file cannot be read to its end.") from error
        finally:
            self._store.command(f"DROP TABLE IF EXISTS {staging} SYNC")
        self._keep(file, reference_id)
        reference = Reference(
            reference_id,
            model_version,
            parquet.metadata.num_rows,
            [column.name for column in columns.profiled if column.role == "feature"],
            columns.ignored,
            self._clock.now(),
        )
        self._note(model, reference)
        _log.info("a reference with %d rows was added", reference.rows)
        return reference

    def _stage(self, parquet: pq.ParquetFile, columns: ReferenceColumns, staging: str) -> None:
        self._store.command(f"CREATE OR REPLACE TABLE {staging} ({columns.ddl}) ENGINE = MergeTree ORDER BY tuple()")
        for batch in parquet.iter_batches(ROWS_PER_BLOCK, columns=columns.source_names):
            self._store.insert(staging, columns.convert(pa.table(batch)))

    def _pin(self, model: str, columns: Sequence[Column], staging: str) -> None:
        """The first reference that has a column says in which unit it is measured from then on."""
        pinned = self._scales.read(model)
        open_ = [
            column
            for column in columns
            if column.is_numeric
            and ((scale := pinned.get((column.role, column.name))) is None or scale.source != "reference")
        ]
        pins: dict[Key, Scale] = {
            key: Scale(scale.center, scale.scale, scale.scale_id, "reference", rows)
            for key, (rows, scale) in measure(self._store, open_, staging, {}).items()
        }
        if pins:
            self._scales.pin(model, pins, self._roller.next_version())
            if any(key in pinned for key in pins):
                self._roller.reconcile(model)

    def _profile(self, model: str, reference_id: str, columns: Sequence[Column], staging: str) -> None:
        pinned = self._scales.read(model)
        scales = [pinned.get((column.role, column.name), UNSCALED) for column in columns]
        source = f"(SELECT *, '' AS model_version FROM {staging})"
        for statement in vector_statements(
            self._store, columns, source=source, params={}, key=_KEY, hour="toUInt32(0)"
        ):
            self._store.command(
                statement.insert_into("reference_vectors", ("reference_id", "role", "feature")),
                {**statement.params, "reference_id": reference_id, "version": self._roller.next_version()},
            )
        for statement in rollup.statements(columns, scales, source=source, key=_KEY, hour="toUInt32(0)"):
            self._store.command(
                statement.insert_into("reference_profiles", ("reference_id", "role", "feature")),
                {**statement.params, "reference_id": reference_id, "version": self._roller.next_version()},
            )

    def _keep(self, file: Path, reference_id: str) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        kept = self._folder / f"{reference_id}.parquet"
        part = kept.with_suffix(".part")
        shutil.copyfile(file, part)
        with part.open("rb+") as written:
            os.fsync(written.fileno())
        part.replace(kept)

    def _note(self, model: str, reference: Reference) -> None:
        known = {"features": reference.features, "ignored": reference.ignored}
        self._store.insert(
            "model_references",
            pa.table(
                {
                    "id": [reference.id],
                    "model": [model],
                    "model_version": [reference.model_version],
                    "rows": pa.array([reference.rows], pa.uint64()),
                    "columns": [json.dumps(known)],
                    "created_at": pa.array([to_micros(reference.created_at)], pa.int64()).cast(
                        pa.timestamp("us", "UTC")
                    ),
                    "version": pa.array([self._roller.next_version()], pa.uint64()),
                }
            ),
        )


def _open(file: Path) -> pq.ParquetFile:
    try:
        parquet = pq.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        raise Problem(422, "invalid_parquet", "The body is not a Parquet file.") from error
    if parquet.metadata.num_rows == 0:
        raise Problem(422, "empty_reference", "The Parquet file has no rows.")
    return parquet


def _identity(file: Path, model: str, model_version: str) -> str:
    with file.open("rb") as opened:
        content = hashlib.file_digest(opened, "sha256")
    content.update(json.dumps([model, model_version]).encode())
    return content.hexdigest()[:24]
