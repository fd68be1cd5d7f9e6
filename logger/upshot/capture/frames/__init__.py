"""Batch scoring: the rows of a frame become Arrow batches of predictions, without a loop over rows.

In: a pandas, polars, pyarrow or DuckDB frame and which of its columns holds what. Out: batches of at most about 4 MB, one after
the other, and the request ID of each row. Promise: never raises for what is wrong with the frame, and counts every row. Importing
this package needs no pyarrow; only its modules `ids`, `columns`, `source`, `table`, `matrix` and `body` meet it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from upshot.capture.frames.books import drop, length
from upshot.capture.frames.layout import Layout
from upshot.capture.redaction import Redaction
from upshot.delivery.batch import Batch
from upshot.writer import Writer

__all__ = ["Layout", "log_frame"]


def log_frame(
    writer: Writer,
    frame: Any,
    layout: Layout,
    *,
    model: str,
    model_version: str,
    submit: Callable[[Batch], bool],
    batch_rows: int = 10_000,
    max_batch_bytes: int = 4 * 1024 * 1024,
    redaction: Redaction | None = None,
) -> Sequence[str]:
    """Hand the rows of a frame to ``submit``, batch by batch. Returns the request ID of each row, as a pyarrow array.

    A batch is of at most ``batch_rows`` rows and about ``max_batch_bytes`` bytes before compression: besides the frame, that
    much memory is used at a time. ``submit`` takes a batch over: from then on its events are counted there, also when it drops
    them and returns False. What does not get so far is counted here, by these reasons: ``no_pyarrow``, ``no_column``,
    ``no_model``, ``too_large``, ``failed``.
    """
    try:
        from upshot.capture.frames import log  # pyarrow is loaded here, and only by who logs frames
    except ImportError:
        n_rows = length(frame)
        drop(writer, n_rows, "no_pyarrow", "log_frame needs pyarrow: pip install 'upshot[frames]'")
        writer.complaints.say()
        return [writer.new_request_id() for _ in range(n_rows)]
    return log.log_frame(writer, frame, layout, model, model_version, submit, batch_rows, max_batch_bytes, redaction)
