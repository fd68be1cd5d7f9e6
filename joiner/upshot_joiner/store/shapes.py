"""The shape of a row: the set of feature names it was served with.

A service serves the same names again and again, so what depends on them alone is worked out once per spelling: their order, their
hashes, and how to take the values of a row in that order. This is the inner loop of intake.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from upshot_joiner.store.keys import name_hash

_MAX_KNOWN = 2_048
"""Spellings kept; a service that makes up names must not fill the memory."""
_MAX_NAMES_KNOWN = 2_048
"""Of a spelling that is kept."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A set of feature names."""

    names: tuple[str, ...]
    """In order."""
    hash: int
    """What a stored row keeps of it: 64 bits."""
    digest: bytes
    """What a content hash keeps of it: 128 bits."""
    longest: int
    """Characters of the longest name; 0 where there is none."""
    values: Callable[[Mapping[str, Any]], tuple[Any, ...]]
    """The values of a mapping with exactly these names, in the order of ``names``."""


def shape_hash(names: Iterable[str]) -> int:
    """The hash of a set of feature names that a stored row keeps."""
    return name_hash(*sorted(names))


def shape_of(features: Mapping[str, Any]) -> Shape:
    """The shape of a row's features. May be called from any thread."""
    spelling = tuple(features)
    known = _known.get(spelling)
    if known is not None:
        return known
    shape = _make(spelling)
    if len(spelling) <= _MAX_NAMES_KNOWN:
        with _lock:
            if len(_known) >= _MAX_KNOWN:
                _known.clear()
            _known[spelling] = shape
    return shape


_known: dict[tuple[str, ...], Shape] = {}
_lock = threading.Lock()


def _make(spelling: tuple[str, ...]) -> Shape:
    names = tuple(sorted(spelling))
    text = "\0".join(f"{len(name)}:{name}" for name in names)
    return Shape(
        names=names,
        hash=shape_hash(names),
        digest=hashlib.blake2b(text.encode(), digest_size=16).digest(),
        longest=max(map(len, names), default=0),
        values=_getter(names),
    )


def _getter(names: tuple[str, ...]) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    if len(names) > 1:
        return itemgetter(*names)
    if names:
        (only,) = names
        return lambda features: (features[only],)
    return lambda _: ()
