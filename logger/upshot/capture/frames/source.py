"""Frames of other libraries as runs of rows: pandas, polars, pyarrow, DuckDB."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import pyarrow as pa

from upshot.capture.frames.columns import by_value
from upshot.capture.frames.place import Place

__all__ = ["Frame", "Rows", "open_frame"]


class Rows(Protocol):
    """Some consecutive rows of a frame."""

    n: int

    def column(self, position: int, place: Place) -> Any:
        """One column of them, as an Arrow array. ``place`` notes values that must be converted one by one."""
        ...


class Frame(Protocol):
    """What holds rows in named columns."""

    names: list[str]
    """Of its columns, as text."""

    def rows(self, n: int) -> Iterator[Rows]:
        """All rows, ``n`` at a time. May be called once."""
        ...


def open_frame(frame: Any) -> Frame:
    """A pandas DataFrame, or anything with ``__arrow_c_stream__`` (polars, pyarrow, DuckDB). Raises TypeError for all else."""
    kinds = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(frame).__mro__}
    if "pandas.DataFrame" in kinds:
        return _PandasFrame(frame)
    if not hasattr(frame, "__arrow_c_stream__"):
        raise TypeError("a frame is a pandas DataFrame or has __arrow_c_stream__")
    if "polars.DataFrame" in kinds:
        frame = _with_readable_columns(frame)
    return _ArrowFrame(pa.RecordBatchReader.from_stream(frame))


class _ArrowFrame:
    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self.names = reader.schema.names

    def rows(self, n: int) -> Iterator[Rows]:
        parts: list[Any] = []
        n_parts = 0
        for batch in self._reader:
            start = 0
            while start < batch.num_rows:
                part = batch.slice(start, n - n_parts)
                start += part.num_rows
                n_parts += part.num_rows
                parts.append(part)
                if n_parts == n:
                    yield _ArrowRows(parts, n)
                    parts, n_parts = [], 0
        if parts:
            yield _ArrowRows(parts, n_parts)


class _ArrowRows:
    def __init__(self, parts: list[Any], n: int) -> None:
        self._parts = parts
        self.n = n

    def column(self, position: int, place: Place) -> Any:  # of the contract
        if len(self._parts) == 1:
            return self._parts[0].column(position)
        return pa.chunked_array([part.column(position) for part in self._parts])


class _PandasFrame:
    """Column by column and not as a whole: pandas would make null of every NaN, and give up for one column of mixed objects."""

    def __init__(self, frame: Any) -> None:
        self._frame = frame
        self.names = [name if type(name) is str else str(name) for name in frame.columns]

    def rows(self, n: int) -> Iterator[Rows]:
        for start in range(0, len(self._frame), n):
            yield _PandasRows(self._frame.iloc[start : start + n])


class _PandasRows:
    def __init__(self, part: Any) -> None:
        self._part = part
        self.n = len(part)

    def column(self, position: int, place: Place) -> Any:
        series = self._part.iloc[:, position]
        dtype = series.dtype
        if type(dtype).__module__.partition(".")[0] == "numpy" and dtype.kind == "f":
            return pa.array(series.to_numpy(), from_pandas=False)  # its NaN is what was served
        try:
            return pa.array(series)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            return by_value(series.tolist(), place)


def _with_readable_columns(frame: Any) -> Any:
    """A polars frame whose columns of Python objects and 128-bit integers, which Arrow does not know, are text."""
    for name, dtype in frame.schema.items():
        if str(dtype) == "Object":
            column = frame.get_column(name)
            frame = frame.with_columns(type(column)(name, [None if v is None else str(v) for v in column.to_list()]))
        elif str(dtype) in {"Int128", "UInt128"}:
            frame = frame.with_columns(frame.get_column(name).cast(str))
    return frame
