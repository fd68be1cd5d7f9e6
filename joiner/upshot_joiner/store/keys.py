"""From a request ID to the number the store sorts by, and hashes of names and content."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable

import msgspec
import pyarrow as pa

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z")
_ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}\Z")
_CROCKFORD = {letter: value for value, letter in enumerate("0123456789ABCDEFGHJKMNPQRSTVWXYZ")}
CANONICAL = msgspec.msgpack.Encoder(order="deterministic")
"""Encodes what a content hash is made of."""


def request_key(request_id: str) -> int:
    """The 128-bit key of a request ID.

    A UUID or ULID in its canonical spelling is its own number, so that UUIDv7 and ULID keys are ordered by time and a label of
    yesterday reads only yesterday's part of the table. Any other ID becomes a hash. Two IDs may share a key (a UUID and a ULID
    of the same number), so everything that joins compares the ID as well.
    """
    if len(request_id) == 36 and _UUID.match(request_id):
        return int(request_id.replace("-", ""), 16)
    if len(request_id) == 26 and _ULID.match(request_id):
        number = 0
        for letter in request_id:
            number = number << 5 | _CROCKFORD[letter]
        return number
    return int.from_bytes(hashlib.blake2b(request_id.encode(), digest_size=16).digest(), "big")


def entity_key(entity_type: str, entity_id: str) -> int:
    """The 128-bit key of an entity: a hash, by a function that the store has as well (``store/entities.py`` says it in SQL)."""
    text = f"{len(entity_type.encode())}:{entity_type}{entity_id}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "little")


def content_hash(content: object) -> int:
    """A 128-bit hash that is equal exactly where the content is: types count (1, 1.0 and true differ), key order does not."""
    try:
        encoded = CANONICAL.encode(content)
    except OverflowError:  # an integer that MessagePack cannot hold
        encoded = msgspec.json.encode(content, order="deterministic")
    return int.from_bytes(hashlib.blake2b(encoded, digest_size=16).digest(), "big")


def name_hash(*names: str) -> int:
    """A 64-bit hash of a sequence of names, the same on every machine."""
    text = "\0".join(f"{len(name)}:{name}" for name in names)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def key_bytes(key: int) -> bytes:
    """A 128-bit number as ClickHouse reads it from an Arrow fixed-size binary column."""
    return key.to_bytes(16, "little")


def key_number(packed: bytes) -> int:
    """The reverse of :func:`key_bytes`."""
    return int.from_bytes(packed, "little")


def key_column(keys: Iterable[int]) -> pa.Array:
    """128-bit numbers as an Arrow column, which ClickHouse reads as UInt128."""
    return _column(b"".join(map(key_bytes, keys)))


def _column(packed: bytes) -> pa.Array:
    return pa.Array.from_buffers(pa.binary(16), len(packed) // 16, [None, pa.py_buffer(packed)])


class Keys:
    """A batch of request keys that statements ask about; immutable, each key once, in order."""

    def __init__(self, keys: Iterable[int]) -> None:
        self.numbers = tuple(sorted(set(keys)))
        self.packed = b"".join(map(key_bytes, self.numbers))
        """As ClickHouse keeps a column of UInt128."""

    def __len__(self) -> int:
        return len(self.numbers)

    def column(self) -> pa.Array:
        """As an Arrow column."""
        return _column(self.packed)

    def split(self, n: int, number_of: Callable[[int, int], int]) -> list[Keys]:
        """One batch for each of ``n`` shards; ``number_of`` (key, n) says which is a key's."""
        parts: list[list[int]] = [[] for _ in range(n)]
        for key in self.numbers:
            parts[number_of(key, n)].append(key)
        return [Keys(part) for part in parts]
