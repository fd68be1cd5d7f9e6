"""Request IDs and sequence numbers for many rows at once, without a loop over them."""

from __future__ import annotations

import array
import os
import time
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import pyarrow as pa

__all__ = ["concat", "new_request_ids", "next_seqs"]

_LENGTH = 36
_N_DIGITS = 20
"""Hexadecimal digits drawn per ID, of which 19 are used."""
_VARIANT = bytes.maketrans(b"0123456789abcdef", b"89ab" * 4)
_MAX_IDS_OF_SHORT_TEXT = 2**31 // 64


def new_request_ids(n: int) -> Sequence[str]:
    """``n`` UUIDv7 of now as a string array, made without a loop over them: 74 random bits behind 48 bits of milliseconds."""
    now_ms = time.time_ns() // 1_000_000
    time_part = f"{now_ms >> 16:08x}-{now_ms & 0xFFFF:04x}-7000-8000-{0:012x}".encode()
    digits = os.urandom(n * _N_DIGITS // 2).hex().encode()
    text = bytearray(time_part * n)
    places = (15, 16, 17, 20, 21, 22, *range(24, _LENGTH))
    for i, place in enumerate(places):
        text[place::_LENGTH] = digits[i::_N_DIGITS]
    text[19::_LENGTH] = digits[len(places) :: _N_DIGITS].translate(_VARIANT)
    offsets = array.array("i", range(0, _LENGTH * (n + 1), _LENGTH))
    made: Sequence[str] = pa.Array.from_buffers(pa.string(), n, [None, pa.py_buffer(offsets), pa.py_buffer(text)])
    return made


def next_seqs(next_seq: Callable[[], int], n: int) -> Any:
    """The next ``n`` numbers of a counter, as an int64 array."""
    numbers = array.array("q", islice(iter(next_seq, None), n))
    return pa.Array.from_buffers(pa.int64(), n, [None, pa.py_buffer(numbers)])


def concat(parts: Sequence[Any]) -> Sequence[str]:
    """String arrays as one; of large strings where there are very many."""
    if sum(map(len, parts)) > _MAX_IDS_OF_SHORT_TEXT:
        parts = [part.cast(pa.large_string()) for part in parts]
    joined: Sequence[str] = pa.concat_arrays(parts) if parts else pa.array([], pa.string())
    return joined
