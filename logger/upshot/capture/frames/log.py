"""A frame becomes batches, in the caller's thread: a batch job has no request path that could be held up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import zstandard

from upshot.capture.frames.body import body
from upshot.capture.frames.books import drop, drop_numbered, length
from upshot.capture.frames.ids import concat, new_request_ids, next_seqs
from upshot.capture.frames.layout import Layout, MissingColumnError, UnreadableColumnError
from upshot.capture.frames.source import Rows, open_frame
from upshot.capture.frames.table import TableMaker, pieces, without_too_large
from upshot.capture.redaction import Redaction
from upshot.capture.sampling import Sampler
from upshot.delivery.batch import Batch
from upshot.wire import ARROW_CONTENT_TYPE
from upshot.writer import Writer

__all__ = ["log_frame"]

_ZSTD_LEVEL = 1
_MAX_ROWS = 50_000
"""More than this a server does not take in one request."""


def log_frame(
    writer: Writer,
    frame: Any,
    layout: Layout,
    model: str,
    model_version: str,
    submit: Callable[[Batch], bool],
    batch_rows: int,
    max_batch_bytes: int,
    redaction: Redaction | None,
) -> Sequence[str]:
    """See `upshot.capture.frames.log_frame`."""

    def none(reason: str, why: str) -> Sequence[str]:
        n_rows = length(frame)
        drop(writer, n_rows, reason, why)
        writer.complaints.say()
        return new_request_ids(n_rows)

    if not model:
        return none("no_model", "predictions without a model are dropped: give model= or set UPSHOT_MODEL")
    constants: dict[str, str | float] = {"model": model, "model_version": model_version, "writer_id": writer.writer_id}
    if writer.settings.sample_rate < 1:
        constants["keep_probability"] = writer.settings.sample_rate
    try:
        opened = open_frame(frame)
    except Exception as error:  # noqa: BLE001  # whatever the code of the frame raises
        return none("failed", f"log_frame cannot read a {type(frame).__name__} ({type(error).__name__})")
    try:
        maker = TableMaker(opened, layout, constants, redaction, writer.ledger.redacted)
    except MissingColumnError as missing:
        return none(
            "no_column", f"log_frame: the frame has no column {missing.column[:200]!r}, given as {missing.role}"
        )
    except Exception as error:  # noqa: BLE001
        return none("failed", f"log_frame: an argument is not what it should be ({type(error).__name__})")
    run = _Run(writer, maker, submit, max_batch_bytes)
    parts = []
    try:
        for rows in opened.rows(max(1, min(int(batch_rows), _MAX_ROWS))):
            parts.append(maker.request_ids(rows))
            run.log(rows, parts[-1])
    except Exception as error:  # noqa: BLE001  # the frame broke off
        n_rows = max(1, length(frame) - sum(map(len, parts)))
        drop(writer, n_rows, "failed", f"log_frame could not read on in the frame ({type(error).__name__})")
        parts.append(new_request_ids(n_rows))
    run.say()
    return concat(parts)


class _Run:
    """One frame on its way."""

    def __init__(
        self, writer: Writer, maker: TableMaker, submit: Callable[[Batch], bool], max_batch_bytes: int
    ) -> None:
        self._writer = writer
        self._maker = maker
        self._submit = submit
        self._max_batch_bytes = max_batch_bytes
        self._max_event_bytes = writer.settings.event_max_bytes
        rate = writer.settings.sample_rate
        self._sampler = Sampler(rate) if rate < 1 else None
        self._compress = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True).compress

    def log(self, rows: Rows, request_ids: Any) -> None:
        """Number these rows, make batches of them and hand those over."""
        writer = self._writer
        keeps = self._keeps(request_ids)
        n_left = rows.n if keeps is None else sum(keeps)
        writer.ledger.sampled_out.raise_by(rows.n - n_left)
        seqs = next_seqs(writer.next_seq, n_left)
        try:
            table = self._maker.table(rows, request_ids, keeps, seqs)
            fitting = without_too_large(table, self._max_event_bytes)
            if n_too_large := table.num_rows - fitting.num_rows:
                n_left -= n_too_large
                drop_numbered(writer, n_too_large, "too_large", f"log_frame: rows above {self._max_event_bytes} bytes")
            for piece in pieces(fitting, self._max_batch_bytes):
                content = body(piece)
                payload = self._compress(content)
                n_left -= piece.num_rows
                self._submit(Batch("predictions", ARROW_CONTENT_TYPE, piece.num_rows, payload, len(content)))
        except UnreadableColumnError as error:
            why = f"log_frame: column {error.column[:200]!r} cannot be what it is named for"
            drop_numbered(writer, n_left, "failed", why)
        except Exception as error:  # noqa: BLE001  # rows that cannot be encoded must not cost those after them
            drop_numbered(writer, n_left, "failed", f"log_frame could not encode rows ({type(error).__name__})")

    def _keeps(self, request_ids: Any) -> list[bool] | None:
        """Which rows are kept; None when all are."""
        return None if self._sampler is None else list(map(self._sampler.keeps, request_ids.to_pylist()))

    def say(self) -> None:
        """Say what was left out and what was kept as text: here, a batch job may not live to the sender's next round."""
        writer = self._writer
        for column, role in self._maker.missing:
            why = (
                f"log_frame: the frame has no column {column[:200]!r}, given as {role}; its rows are logged without it"
            )
            writer.complaints.note(why, why)
        for column in self._maker.repeated:
            why = f"log_frame: the frame has several columns {column[:200]!r}; the first is logged"
            writer.complaints.note(why, why)
        for column in self._maker.unreadable:
            why = f"log_frame: column {column[:200]!r} cannot be read; rows are logged without it"
            writer.complaints.note(why, why)
        for column, n in (+self._maker.kept_as_text).items():
            writer.ledger.converted_repr.raise_by(n)
            why = f"log_frame: column {column[:200]!r} holds values that no event can hold; they are kept as text"
            writer.complaints.note(why, why)
        writer.complaints.say()
