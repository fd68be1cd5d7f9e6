"""Sending batches one behind the other while the next one is made, and settling each in the books once it is answered."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from upshot_server.labels.batches import Batch, Rejected
from upshot_server.labels.books import Books
from upshot_server.labels.mapping import Resolved
from upshot_server.labels.sender import Answered, LabelSender

Settled = Callable[[Batch, Books, list[Rejected]], None]
"""Called in order for each answered batch: the batch, its complete books, everything of it that was rejected."""


def send_all(batches: Iterable[Batch], sender: LabelSender, resolved: Resolved, settled: Settled) -> None:
    """Send every batch; one is under way while the next one is read. What was answered is settled, whatever happens then."""
    with ThreadPoolExecutor(1, thread_name_prefix="upshot-labels") as pool:
        under_way: tuple[Batch, Future[Answered]] | None = None

        def settle() -> None:
            nonlocal under_way
            if under_way is not None:
                (batch, answer), under_way = under_way, None
                _settle(batch, answer, resolved, settled)

        try:
            for batch in batches:
                settle()
                under_way = (batch, pool.submit(sender.send, batch.events))
        except Exception:
            settle()
            raise
        except BaseException:
            sender.stop()
            raise
        settle()


def _settle(batch: Batch, answer: Future[Answered], resolved: Resolved, settled: Settled) -> None:
    answered = answer.result()
    rejected = list(batch.rejected)
    for index, code, loc in answered.errors:
        column = resolved.column_of(loc)
        if column is None and resolved.value_columns:
            column = batch.names[index]
        rejected.append(Rejected(batch.places[index], code, loc, column))
    books = batch.books + Books(
        accepted=answered.accepted, duplicates=answered.duplicates, rejected=len(answered.errors)
    )
    books.check()
    settled(batch, books, rejected)
