"""Parquet, batch by batch, the columns that are needed only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from upshot_server.labels.errors import Unreadable, WrongInput
from upshot_server.labels.read.opened import DAMAGE, Opened, damaged
from upshot_server.labels.rows import BadRow, Position, Row

_BATCH_ROWS = 8192


class ParquetRows:
    """Rows whose cells have the types of their columns; times are kept to the microsecond."""

    unit = "row"
    are_text = False

    def __init__(self, opened: Opened) -> None:
        try:
            self._file = pq.ParquetFile(opened.seekable())
        except DAMAGE as error:
            raise damaged() from error
        except (pa.ArrowException, OSError) as error:
            raise WrongInput("the file is no Parquet, or cut off") from error
        self._columns = list(self._file.schema_arrow.names)
        self.rows: int = self._file.metadata.num_rows
        self._place = 0

    @property
    def columns(self) -> Sequence[str]:
        """As the file names them."""
        return self._columns

    @property
    def position(self) -> Position:
        """The end of the last row."""
        return Position(self._place, self._place)

    def read(self, needed: Sequence[str], start: Position) -> Iterator[Row | BadRow]:
        """All rows from ``start`` on; a column that is not needed is None in each."""
        groups, self._place = self._groups_from(start.offset)
        empty: list[object] = [None] * len(self._columns)
        at = {name: index for index, name in enumerate(self._columns) if name in needed}
        try:
            for batch in self._file.iter_batches(_BATCH_ROWS, row_groups=groups, columns=list(at), use_threads=False):
                indexes = [at[name] for name in batch.schema.names if name in at]
                columns = [_cells(batch.column(n)) for n, name in enumerate(batch.schema.names) if name in at]
                for number in range(batch.num_rows):
                    self._place += 1
                    if self._place <= start.offset:
                        continue
                    cells = empty.copy()
                    for index, column in zip(indexes, columns, strict=True):
                        cells[index] = column[number]
                    yield Row(self._place, cells)
        except (pa.ArrowException, OSError) as error:
            raise Unreadable(f"the file is damaged behind row {self._place:,}") from error

    def _groups_from(self, offset: int) -> tuple[list[int], int]:
        """The row groups that are not passed wholly, and how many rows were before them."""
        before = 0
        for group in range(self._file.metadata.num_row_groups):
            rows = self._file.metadata.row_group(group).num_rows
            if before + rows > offset:
                return list(range(group, self._file.metadata.num_row_groups)), before
            before += rows
        return [], before


def _cells(column: pa.Array) -> list[Any]:
    if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
        column = pc.cast(column, pa.timestamp("us", column.type.tz), safe=False)
    cells: list[Any] = column.to_pylist()
    return cells
