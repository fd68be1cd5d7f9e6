"""A MessagePack array taken apart without recursion: for a frame in which one event is nested deeper than msgspec follows.

An encoder in a short program gets a few levels deeper than a decoder in a server, so such an event can be sent; it must not take
the others of its frame with it.
"""

from __future__ import annotations

MAX_BYTES = 4 * 1024 * 1024
"""Of a frame, for it is gone through object by object. The SDK's are at most 1 MiB."""

_FIXED = {
    0xC0: 0,
    0xC2: 0,
    0xC3: 0,
    0xCA: 4,
    0xCB: 8,
    0xCC: 1,
    0xCD: 2,
    0xCE: 4,
    0xCF: 8,
    0xD0: 1,
    0xD1: 2,
    0xD2: 4,
    0xD3: 8,
}
_FIXED |= {0xD4: 2, 0xD5: 3, 0xD6: 5, 0xD7: 9, 0xD8: 17}
"""Bytes that follow: constants, numbers, extensions of a fixed size."""
_WITH_LENGTH = {0xC4: (1, 0), 0xC5: (2, 0), 0xC6: (4, 0), 0xC7: (1, 1), 0xC8: (2, 1), 0xC9: (4, 1)}
_WITH_LENGTH |= {0xD9: (1, 0), 0xDA: (2, 0), 0xDB: (4, 0)}
"""Binary, extension, text: bytes of the length, and bytes beyond those that it counts."""
_CONTAINERS = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2)}
"""Array, map: bytes of the count, and objects for each."""


def split(frame: bytes) -> list[bytes] | None:
    """The items of the array that a frame is; None when it is none, or larger than is gone through."""
    if len(frame) > MAX_BYTES:
        return None
    items: list[bytes] = []
    try:
        count, position = _head(frame, 0)
        if not 0x90 <= frame[0] <= 0x9F and frame[0] not in (0xDC, 0xDD):
            return None
        for _ in range(count):
            start = position
            left = 1
            while left:
                inner, position = _head(frame, position)
                left += inner - 1
            items.append(frame[start:position])
    except (IndexError, KeyError):
        return None
    return items if position == len(frame) else None


def _head(frame: bytes, position: int) -> tuple[int, int]:
    """How many objects the one at ``position`` contains, and where the next begins. Raises IndexError at the end of the frame."""
    kind = frame[position]
    position += 1
    inner = 0
    if kind < 0x80 or kind >= 0xE0:
        pass
    elif kind < 0x90:
        inner = 2 * (kind & 0x0F)
    elif kind < 0xA0:
        inner = kind & 0x0F
    elif kind < 0xC0:
        position += kind & 0x1F
    elif kind in _FIXED:
        position += _FIXED[kind]
    elif kind in _CONTAINERS:
        size, each = _CONTAINERS[kind]
        inner = each * int.from_bytes(frame[position : position + size], "big")
        position += size
    else:
        size, more = _WITH_LENGTH[kind]
        position += size + more + int.from_bytes(frame[position : position + size], "big")
    if position > len(frame):
        raise IndexError
    return inner, position
