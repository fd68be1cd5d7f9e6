"""The IDs of deliveries that were stored: a sender repeats for days what it was not told about, and must not count twice.

Senders that follow Standard Webhooks try again for about 75 hours, so an ID is known for seven days, over restarts too.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec
import pyarrow as pa

from upshot_joiner.clock import Clock, to_micros
from upshot_joiner.errors import Problem
from upshot_joiner.intake.batch import Answer
from upshot_joiner.intake.grouped import Grouped
from upshot_joiner.store import rows
from upshot_joiner.store.client import Store
from upshot_joiner.store.keys import Keys, key_column

REMEMBERED = timedelta(days=7)
FORGET_EVERY = timedelta(hours=1)
MAX_ERRORS = 100
"""Places of refused events that are told again when a delivery is repeated."""

_FIND = """
SELECT id_key, digest, answer FROM webhook_ids FINAL
WHERE id_key IN ($keys) AND received_at > fromUnixTimestamp64Micro({after:Int64}, 'UTC')
"""
_FORGET = "DELETE FROM webhook_ids WHERE received_at <= fromUnixTimestamp64Micro({until:Int64}, 'UTC')"


@dataclass(frozen=True, slots=True)
class _Known:
    id_key: int
    digest: int
    answer: Answer


class Remembered:
    """Does the work of a delivery once for each ID. For one event loop."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store.shards[0]
        self._clock = clock
        self._find: Grouped[int, _Known | None] = Grouped("upshot-webhook-find", self._found)
        self._note: Grouped[_Known, None] = Grouped("upshot-webhook-note", self._noted)
        self._turns: dict[int, _Turn] = {}
        self._forgot: datetime | None = None

    def start(self) -> None:
        """Begin to look up and to note."""
        self._find.start()
        self._note.start()

    def close(self) -> None:
        """Note what has to be noted, then stop."""
        self._find.close()
        self._note.close()

    async def once(self, id_: str, body: bytes, work: Callable[[], Awaitable[Answer]]) -> tuple[Answer, bool]:
        """The answer to a delivery, and whether it had come before; ``work`` stores it.

        Of two deliveries with one ID at once the second waits for the first. The ID is noted only after ``work`` is done, so what
        failed is done at the next try. Raises a 409 :class:`Problem` for an ID that came with another body.
        """
        known = _Known(_hash(id_.encode("ascii")), _hash(body), Answer())
        async with self._turn(known.id_key):
            before = await asyncio.wrap_future(self._find.submit(known.id_key))
            if before is not None:
                if before.digest != known.digest:
                    raise Problem(
                        409,
                        "id_conflict",
                        "Another body came with this `webhook-id` before; that one counts.",
                        [{"loc": "header.webhook-id", "code": "id_conflict"}],
                    )
                return _repeated(before.answer), True
            answer = await work()
            await asyncio.wrap_future(self._note.submit(_Known(known.id_key, known.digest, answer)))
            return answer, False

    @asynccontextmanager
    async def _turn(self, id_key: int) -> AsyncIterator[None]:
        turn = self._turns.setdefault(id_key, _Turn())
        turn.wanted += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.wanted -= 1
            if not turn.wanted:
                del self._turns[id_key]

    def _found(self, keys: Sequence[int]) -> list[_Known | None]:
        after = to_micros(self._clock.now() - REMEMBERED)
        found = {
            key: _Known(key, digest, msgspec.json.decode(answer, type=Answer))
            for key, digest, answer in self._store.query(_FIND, {"after": after}, Keys(keys))
        }
        return [found.get(key) for key in keys]

    def _noted(self, deliveries: Sequence[_Known]) -> list[None]:
        now = self._clock.now()
        self._store.insert(
            "webhook_ids",
            pa.table(
                {
                    "id_key": key_column([one.id_key for one in deliveries]),
                    "digest": key_column([one.digest for one in deliveries]),
                    "answer": pa.array([_text(one.answer) for one in deliveries], pa.string()),
                    "received_at": pa.array([now] * len(deliveries), rows.TIME),
                }
            ),
        )
        if self._forgot is None or abs(now - self._forgot) >= FORGET_EVERY:
            self._store.command(_FORGET, {"until": to_micros(now - REMEMBERED)})
            self._forgot = now
        return [None] * len(deliveries)


class _Turn:
    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.wanted = 0


def _repeated(first: Answer) -> Answer:
    return Answer(0, first.accepted + first.duplicates, first.rejected, first.errors)


def _text(answer: Answer) -> str:
    kept = Answer(answer.accepted, answer.duplicates, answer.rejected, answer.errors[:MAX_ERRORS])
    return msgspec.json.encode(kept).decode()


def _hash(content: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=16).digest(), "big")
