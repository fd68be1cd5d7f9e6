"""From a request body to the writer's queue."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Generic, TypeVar

from upshot.wire import LabelEvent, Prediction, WriterReport
from upshot_joiner.intake.batch import Answer
from upshot_joiner.intake.body import decompress, whole
from upshot_joiner.intake.check import (
    CheckedLabel,
    CheckedPrediction,
    CheckedReport,
    NotAccepted,
    check_label,
    check_prediction,
    check_report,
)
from upshot_joiner.intake.committer import Committer
from upshot_joiner.intake.decode import Decoder, Refused, form_of
from upshot_joiner.intake.decoded import Decoded, EventT
from upshot_joiner.intake.origin import Origins
from upshot_joiner.intake.repeated_keys import refuse_repeated_keys
from upshot_joiner.intake.shaped import content_of
from upshot_joiner.intake.together import check_together

CheckedT = TypeVar("CheckedT", CheckedPrediction, CheckedLabel, CheckedReport)


@dataclass(frozen=True)
class Received(Generic[CheckedT]):
    """What one request brought: events in normal form with their index, and what was refused."""

    events: list[tuple[int, CheckedT]]
    refused: list[Refused]
    converted: int | None = None
    """How many values of these events were kept as ``repr``; None for a kind of event whose values never are."""

    @property
    def empty(self) -> bool:
        """Nothing to store and nothing to keep."""
        return not self.events and not self.refused


def _each(
    check: Callable[[EventT], CheckedT], decoded: Decoded[EventT], refused: list[Refused]
) -> list[tuple[int, CheckedT]]:
    """Check events one by one; those that cannot be accepted are added to ``refused``."""
    events: list[tuple[int, CheckedT]] = []
    for index, event in decoded.events:
        try:
            events.append((index, check(event)))
        except NotAccepted as reason:
            refused.append(Refused(index, reason.code, reason.loc, content_of(event)))
    return events


class Receiver:
    """Decodes, checks and hands over; every method may be called from any thread."""

    takes_without_store = False
    """Whether events are taken also while the store is away."""

    def __init__(self, committer: Committer) -> None:
        self._committer = committer
        self._predictions = Decoder(Prediction)
        self._labels = Decoder(LabelEvent)
        self._reports = Decoder(WriterReport)

    def coming(self) -> AbstractContextManager[None]:
        """Enter it while a request that has arrived whole is decoded and handed over: others may share a write with it."""
        return self._committer.coming()

    def decode_predictions(self, body: bytes, content_type: str, encoding: str) -> Received[CheckedPrediction]:
        """Predictions of a body as sent; raises a :class:`Problem` when it is no list of events at all."""
        decoded = self._predictions.decode(decompress(body, encoding), content_type)
        refused = list(decoded.refused)
        together = check_together([event for _, event in decoded.events])
        if together is not None:
            events = [(index, one) for (index, _), one in zip(decoded.events, together, strict=True)]
        else:
            events = _each(check_prediction, decoded, refused)
        converted = sum(decoded.converted.get(index, 0) for index, _ in events) if decoded.converted else 0
        return Received(events, refused, converted)

    def decode_labels(self, body: bytes, content_type: str, encoding: str) -> Received[CheckedLabel]:
        """Label events of a body as sent; raises a :class:`Problem` when it is no list of events at all."""
        frames = decompress(body, encoding)
        if "json" in form_of(content_type):
            refuse_repeated_keys(whole(frames))
        decoded = self._labels.decode(frames, content_type)
        refused = list(decoded.refused)
        return Received(_each(check_label, decoded, refused), refused)

    def decode_reports(self, body: bytes, content_type: str, encoding: str) -> Received[CheckedReport]:
        """Reports of writers of a body as sent; raises a :class:`Problem` when it is no list of reports at all."""
        decoded = self._reports.decode(decompress(body, encoding), content_type)
        refused = list(decoded.refused)
        return Received(_each(check_report, decoded, refused), refused)

    def close(self) -> None:
        """Take no more. What was handed to the writer is the writer's."""

    def submit_predictions(
        self, received: Received[CheckedPrediction], origins: Origins | None = None
    ) -> Future[Answer]:
        """Queue them for the writer; the future is done when they are on disk."""
        return self._committer.submit_predictions(received.events, received.refused, origins)

    def submit_labels(self, received: Received[CheckedLabel], origins: Origins | None = None) -> Future[Answer]:
        """Queue them for the writer; the future is done when they are on disk."""
        return self._committer.submit_labels(received.events, received.refused, origins)

    def submit_reports(self, received: Received[CheckedReport], origins: Origins | None = None) -> Future[Answer]:
        """Queue them for the writer; the future is done when they are on disk."""
        return self._committer.submit_reports(received.events, received.refused, origins)
