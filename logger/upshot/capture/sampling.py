"""Which requests are kept when not all are: decided by the request ID alone.

Every process, language and database comes to the same verdict about a request. Its *position* is a number from 0 up to 2**32::

    h = CRC32(request ID as UTF-8)                        the CRC of zlib, gzip and PNG
    h = h * 0x9E3779B1                      mod 2**32
    h = (h XOR (h >> 15)) * 0x85EBCA6B      mod 2**32

A request is kept at rate r when its position is below r * 2**32, rounded up. So what is kept at a rate is kept at every higher
one, and a request is kept with all its items and by all its models, or not at all. The CRC alone would not do: it is linear, and
of IDs that count up it keeps every second one exactly. Multiplied and folded as above it passes for chance on all kinds of IDs
(``tests/logger/test_sampling.py``). In ClickHouse::

    WITH bitAnd(CRC32(request_id) * 2654435761, 4294967295) AS h
    SELECT bitAnd(bitXor(h, bitShiftRight(h, 15)) * 2246822507, 4294967295) AS position

When the queue fills, only a fraction of the requests is kept (`keep_fraction`), by the same position. Rate and fraction therefore
nest: a request is kept when its position is below both, which has the probability ``min(rate, fraction)``, not their product.
That is the event's ``keep_probability``; counting each event ``1 / keep_probability`` times gives unbiased counts and means.
"""

from __future__ import annotations

from zlib import crc32

__all__ = ["Sampler", "keep_fraction", "position"]

_ALL = 2**32
_LEVELS = ((0.875, 0.125), (0.75, 0.25), (0.5, 0.5))
"""From which fill of the queue on, what fraction of the requests is kept. Each level halves what comes in, before the queue
has lost half of the room that was left."""


def position(request_id: str) -> int:
    """Where a request stands from 0 up to 2**32: its verdict at any rate. See the module's formula."""
    try:
        h = crc32(request_id.encode()) * 0x9E3779B1 & 0xFFFFFFFF
    except UnicodeEncodeError:  # a lone surrogate: the event will bear U+FFFD in its place
        valid = request_id.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        h = crc32(valid.encode()) * 0x9E3779B1 & 0xFFFFFFFF
    return (h ^ h >> 15) * 0x85EBCA6B & 0xFFFFFFFF


def keep_fraction(fill: float) -> float:
    """What fraction of the requests to keep while the queue is this full (0 empty, 1 full)."""
    if fill < 0.5:
        return 1.0
    for threshold, fraction in _LEVELS:
        if fill >= threshold:
            return fraction
    return 1.0


class Sampler:
    """Keeps a fixed share of the requests.

    ``rate``: from 0 (none) to 1 (all). It is exact to 2**-32, so rates below a millionth are coarse. Raises ValueError outside.
    """

    __slots__ = ("_below", "rate")

    def __init__(self, rate: float) -> None:
        if not 0 <= rate <= 1:
            raise ValueError("a sampling rate is from 0 to 1")
        self.rate = rate
        self._below = _threshold(rate)

    def keeps(self, request_id: str) -> bool:
        """Whether this request is among those kept."""
        try:
            h = crc32(request_id.encode()) * 0x9E3779B1 & 0xFFFFFFFF
        except UnicodeEncodeError:
            return position(request_id) < self._below
        return (h ^ h >> 15) * 0x85EBCA6B & 0xFFFFFFFF < self._below

    def keep_probability(self, request_id: str, fill: float) -> float:
        """With which probability a request is kept while the queue is this full; 0.0 when this one is not."""
        probability = min(self.rate, keep_fraction(fill))
        return probability if position(request_id) < _threshold(probability) else 0.0


def _threshold(rate: float) -> int:
    return -int(-rate * _ALL // 1)
