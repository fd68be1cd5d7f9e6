"""A table of recomputed values as it was sent: Parquet, Arrow or CSV, read in batches."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq
import pyarrow.types as is_

from upshot_joiner.errors import Place, Problem
from upshot_monitoring.row_skew.cells import KIND_WORDS, is_text, slots_of

Form = Literal["parquet", "arrow", "csv"]
FORMS: dict[str, Form] = {
    "application/vnd.apache.parquet": "parquet",
    "application/vnd.apache.arrow.stream": "arrow",
    "text/csv": "csv",
}
"""By media type."""
SUFFIXES: dict[str, str] = {
    ".parquet": "application/vnd.apache.parquet",
    ".arrows": "application/vnd.apache.arrow.stream",
    ".arrow": "application/vnd.apache.arrow.stream",
    ".csv": "text/csv",
}
"""The media type of a file, by its suffix."""

MAX_COLUMNS = 2000
ROWS_PER_BATCH = 50_000
CSV_BLOCK_BYTES = 4 * 1024 * 1024

_FEATURE = "feature__"
_KIND = "feature_kind__"
_IDS = ("request_id", "item_id", "model_version")
# What an export has besides: not compared.
_OTHER = frozenset(
    {"model", "predicted_at", "prediction", "prediction_kind", "action", "action_kind", "propensity", "weight"}
)
_OTHER_PREFIXES = ("label_", "entity__", "tag__", "probability__", "feature_time__", "input__", "__index_level_")


@dataclass(frozen=True)
class Source:
    """Where the values of one feature are."""

    column: str
    type: pa.DataType
    kinds: str | None = None
    """The column that says the kind of every row, as in an export."""
    is_json: bool = False
    """Whether the column holds JSON text, because it holds several kinds."""


@dataclass
class RecomputedTable:
    """A table on disk that was found to be one; ``batches`` reads it."""

    file: Path
    form: Form
    features: dict[str, Source] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)
    _names: list[str] = field(default_factory=list)

    @classmethod
    def open(cls, file: Path, form: Form) -> RecomputedTable:
        """Look at the columns. Raises a 422 :class:`Problem` that names what is wrong with them."""
        found = cls(file, form)
        schema = found._schema()
        found._sort(schema)
        return found

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, at most :data:`ROWS_PER_BATCH` at once. Raises a 422 :class:`Problem` where the file breaks off."""
        try:
            for batch in self._read():
                for start in range(0, batch.num_rows, ROWS_PER_BATCH):
                    yield batch.slice(start, ROWS_PER_BATCH)
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise Problem(422, "invalid_table", "The table cannot be read to its end.") from error

    def _schema(self) -> pa.Schema:
        try:
            if self.form == "parquet":
                return pq.read_schema(self.file)
            if self.form == "arrow":
                with pa.OSFile(str(self.file)) as opened:
                    return pa.ipc.open_stream(opened).schema
            with self.file.open(encoding="utf-8-sig", newline="") as opened_text:
                line = opened_text.readline(1_000_000)
            self._names = next(csv.reader(io.StringIO(line)), [])
            return pa.schema([(name, pa.string()) for name in self._names])
        except (pa.ArrowException, OSError, UnicodeDecodeError, csv.Error) as error:
            raise Problem(422, "invalid_table", f"The body is not a table in the form {self.form}.") from error

    def _sort(self, schema: pa.Schema) -> None:
        if len(schema.names) > MAX_COLUMNS:
            raise Problem(422, "too_many_columns", f"A table has at most {MAX_COLUMNS} columns.")
        wrong: list[Place] = [
            {"loc": name, "code": "duplicate_column"}
            for name in sorted({n for n in schema.names if schema.names.count(n) > 1})
        ]
        if "request_id" not in schema.names:
            wrong.append({"loc": "request_id", "code": "missing_column"})
        wrong += [
            {"loc": one.name, "code": "unsupported_type"}
            for one in schema
            if one.name in _IDS and not _is_id(one.type.value_type if is_.is_dictionary(one.type) else one.type)
        ]
        kinds = {name.removeprefix(_KIND): name for name in schema.names if name.startswith(_KIND)}
        for one in schema:
            name = one.name.removeprefix(_FEATURE)
            is_plain = name == one.name
            if one.name in _IDS or one.name.startswith(_KIND):
                continue
            if is_plain and (name in _OTHER or name.startswith(_OTHER_PREFIXES)):
                self.ignored.append(name)
            elif slots_of(one.type) is None:
                self.ignored.append(one.name)
            elif name in self.features:
                wrong.append({"loc": one.name, "code": "duplicate_column"})
            else:
                is_json = (one.metadata or {}).get(b"upshot") == b"json"
                self.features[name] = Source(one.name, one.type, kinds.get(name), is_json)
        if wrong:
            raise Problem(422, "invalid_columns", "The table's columns are not those of recomputed values.", wrong)
        if not self.features:
            raise Problem(422, "no_features", "The table has no column that can be a feature.")
        if self.form == "csv":
            self.features = {name: Source(one.column, one.type) for name, one in self.features.items()}
        elif kinds:
            self._look_at_kinds()

    def _look_at_kinds(self) -> None:
        """Whether a text column with kinds holds texts or JSON shows only in all of its rows."""
        said: dict[str, set[str]] = {one.kinds: set() for one in self.features.values() if one.kinds}
        for batch in self.batches():
            for column, words in said.items():
                words |= set(pc.unique(batch[column].cast(pa.string())).to_pylist()) - {None}
        wrong: list[Place] = [
            {"loc": column, "code": "invalid"} for column, words in said.items() if words - KIND_WORDS
        ]
        if wrong:
            raise Problem(422, "invalid_kind", "A kind is one of those that an export has.", wrong)
        for name, one in self.features.items():
            if one.kinds:
                is_json = one.is_json or bool(said[one.kinds] - {"str", "null", "absent"})
                self.features[name] = Source(one.column, one.type, one.kinds, is_json)

    def _read(self) -> Iterator[pa.RecordBatch]:
        if self.form == "parquet":
            yield from pq.ParquetFile(self.file).iter_batches(ROWS_PER_BATCH, columns=self._used())
        elif self.form == "arrow":
            with pa.OSFile(str(self.file)) as opened:
                yield from pa.ipc.open_stream(opened)
        else:
            convert = arrow_csv.ConvertOptions(
                column_types={name: pa.string() for name in self._names},
                # An empty cell is null; a quoted empty one is the empty text.
                null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False,
            )  # fmt: skip
            read = arrow_csv.ReadOptions(block_size=CSV_BLOCK_BYTES)
            parse = arrow_csv.ParseOptions(newlines_in_values=True)
            with arrow_csv.open_csv(
                self.file, read_options=read, convert_options=convert, parse_options=parse
            ) as reader:
                yield from reader

    def _used(self) -> list[str]:
        columns = [*_IDS, *(one.column for one in self.features.values())]
        columns += [one.kinds for one in self.features.values() if one.kinds]
        there = set(pq.read_schema(self.file).names)
        return [name for name in columns if name in there]


def texts_of(batch: pa.RecordBatch, name: str) -> pa.Array:
    """A column of IDs as texts; nulls where the table does not have it."""
    if name not in batch.schema.names:
        return pa.nulls(batch.num_rows, pa.string())
    column = batch[name]
    if is_.is_dictionary(column.type):
        column = column.dictionary_decode()
    return column.cast(pa.string())


def _is_id(kind: pa.DataType) -> bool:
    """Not a float: where an integer column had nulls, pandas makes floats of it, and 17.0 is not the request 17."""
    return bool(is_text(kind) or is_.is_integer(kind) or is_.is_null(kind))
