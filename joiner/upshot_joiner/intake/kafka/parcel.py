"""Some messages of one partition that are stored together, and how far they are.

Of small messages many share a parcel, so that the committer is asked once for all of them. A parcel is done when all of it is
stored and every dead letter of it is acknowledged.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from upshot_joiner.errors import Problem, StoreError
from upshot_joiner.intake.batch import Answer
from upshot_joiner.intake.decoded import Refused
from upshot_joiner.intake.kafka.contract import Message, MessageTooLarge, Outgoing, Producer
from upshot_joiner.intake.kafka.letters import letter_of_item, letter_of_message
from upshot_joiner.intake.kafka.opening import Kind, Opened
from upshot_joiner.intake.origin import Origin, Origins
from upshot_joiner.intake.receive import Received

Submit = Callable[[Received[Any], Origins], Future[Answer]]

_SMALLEST_LETTER = 1024


@dataclass(frozen=True, slots=True)
class _Source:
    """The place of a message. ``entry_id`` of a message that was replayed is that of its first refusal; ``attempt`` counts them."""

    topic: str
    partition: int
    offset: int
    entry_id: int
    attempt: int


@dataclass
class _Part:
    """The events of one kind. Items count through all its messages; ``starts`` are the numbers at which each message begins."""

    kind: Kind
    events: list[tuple[int, Any]] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    sources: list[_Source] = field(default_factory=list)
    unreadable: dict[int, Message] = field(default_factory=dict)
    n_items: int = 0
    stored: Future[Answer] | None = None
    answer: Answer | None = None

    def add(self, opened: Opened) -> None:
        start = self.n_items
        self.starts.append(start)
        self.sources.append(_source(opened.message))
        self.events += [(start + index, event) for index, event in opened.received.events]
        self.refused += [Refused(start + one.index, one.code, one.loc, one.payload) for one in opened.received.refused]
        if opened.is_unreadable:
            self.unreadable[start] = opened.message
        self.n_items += max(1, opened.n_items)

    def origin(self, index: int) -> Origin:
        place = bisect_right(self.starts, index) - 1
        source, within = self.sources[place], index - self.starts[place]
        if source.entry_id and not within:
            return Origin(source.topic, source.partition, source.offset, within, source.entry_id)
        return Origin.of(source.topic, source.partition, source.offset, within)

    def letter(self, refused: Refused) -> Outgoing:
        attempt = self.sources[bisect_right(self.starts, refused.index) - 1].attempt
        whole = self.unreadable.get(refused.index)
        origin = self.origin(refused.index)
        if whole is not None:
            return letter_of_message(whole, self.kind, refused, origin, attempt)
        return letter_of_item(self.kind, refused, origin, attempt)


class Parcel:
    """Messages from ``first`` to before ``end``."""

    def __init__(self, first: int) -> None:
        self.first = first
        self.end = first
        self.n_events = 0
        self.n_refused = 0
        """Items that were refused before they were submitted."""
        self.n_bytes = 0
        self.is_counted = False
        """Whether what became of it has been counted: once, however often it is looked at."""
        self._parts: dict[Kind, _Part] = {}
        self._letters: list[tuple[Outgoing, Future[None] | None]] | None = None
        self.answer = Answer()
        """What became of all of it; complete once it is stored."""

    def add(self, opened: Opened) -> None:
        """Put a message in."""
        self._parts.setdefault(opened.kind, _Part(opened.kind)).add(opened)
        self.end = opened.message.offset + 1
        self.n_events += opened.n_good + opened.n_bad
        self.n_refused += opened.n_bad
        self.n_bytes += opened.message.size

    def submit(self, submits: dict[Kind, Submit]) -> None:
        """Hand to the committer what it does not have. Raises Problem when it takes nothing now."""
        for part in self._parts.values():
            if part.answer is None and part.stored is None:
                if not part.events and not part.refused:
                    part.answer = Answer()
                    continue
                # A copy: the committer adds to it what it refuses itself.
                received: Received[Any] = Received(part.events, list(part.refused))
                part.stored = submits[part.kind](received, part.origin)

    @property
    def is_waiting(self) -> bool:
        """Whether something of it must be submitted (again)."""
        return any(part.answer is None and part.stored is None for part in self._parts.values())

    def look(self) -> bool:
        """Take the answers that are there; whether all of it is stored. Raises Problem or StoreError when it was not, once."""
        failure: BaseException | None = None
        for part in self._parts.values():
            if part.stored is not None and part.stored.done():
                error = part.stored.exception()
                if error is None:
                    part.answer = part.stored.result()
                    self.answer.add(part.answer)
                else:
                    failure = error
                part.stored = None
        if isinstance(failure, (Problem, StoreError)):
            raise failure
        if failure is not None:
            raise StoreError(f"not stored ({type(failure).__name__})") from failure
        return all(part.answer is not None for part in self._parts.values())

    def post(self, producer: Producer) -> bool:
        """Send its dead letters, as far as that was not done; whether all are acknowledged. Call it when all of it is stored.

        Raises KafkaUnavailable or KafkaRefused when one was not taken; call it again later. One that is too large is cut.
        """
        if self._letters is None:
            self._letters = [
                (part.letter(refused), None)
                for part in self._parts.values()
                for refused in (part.answer.refused if part.answer else ())
            ]
        failure: BaseException | None = None
        left: list[tuple[Outgoing, Future[None] | None]] = []
        for letter, sent in self._letters:
            if sent is None:
                left.append((letter, producer.send(letter)))
            elif not sent.done():
                left.append((letter, sent))
            elif (error := sent.exception()) is not None:
                can_be_cut = isinstance(error, MessageTooLarge) and len(letter.value) > _SMALLEST_LETTER
                failure = failure if can_be_cut else error
                left.append((_shorter(letter) if can_be_cut else letter, None))
        self._letters = left
        if failure is not None:
            raise failure
        return not left

    @property
    def n_letters(self) -> int:
        """Dead letters that are not acknowledged yet."""
        return len(self._letters or ())


def _source(message: Message) -> _Source:
    entry, attempt = message.headers.get("upshot-entry", ""), message.headers.get("upshot-attempt", "")
    try:
        entry_id = int(entry, 16) if len(entry) == 32 else 0
    except ValueError:
        entry_id = 0
    number = int(attempt) if attempt.isdecimal() and len(attempt) < 6 else 0
    topic, partition = message.partition
    return _Source(topic, partition, message.offset, entry_id, number + 1)


def _shorter(letter: Outgoing) -> Outgoing:
    value = letter.value[: max(_SMALLEST_LETTER, len(letter.value) // 2)]
    headers = {**letter.headers, "upshot-cut": letter.headers.get("upshot-cut", str(len(letter.value)))}
    return Outgoing(letter.topic, value, headers, letter.key)
