"""Where an event came from, when it can come again: what gives a refused event one entry in quarantine, however often it comes."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Origin:
    """A place in a topic, and the item of the message that lies there. ``entry_id`` (128 bits) is that of its quarantine entry."""

    topic: str = ""
    partition: int = 0
    offset: int = 0
    index: int = 0
    entry_id: int = 0

    @classmethod
    def of(cls, topic: str, partition: int, offset: int, index: int) -> Origin:
        """The item ``index`` of a message: the same ID at every delivery."""
        text = f"{len(topic)}:{topic}:{partition}:{offset}:{index}"
        return cls(topic, partition, offset, index, _hash(text.encode()))

    @classmethod
    def once(cls) -> Origin:
        """Of an event that came by a request of its own, which does not come again."""
        return cls(entry_id=secrets.randbits(128) or 1)


Origins = Callable[[int], Origin]
"""From the index of an item in what was submitted to its origin."""


def _hash(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=16).digest(), "big") or 1
