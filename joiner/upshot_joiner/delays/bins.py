"""The bins that delays are counted in: eight to an octave, from one second on.

Bin 0 holds what took less than a second; bin b, from 1 on, the delays from 2^((b-1)/8) up to 2^(b/8) seconds, so a bin is 9 % wide
and 230 of them reach to ten years. A delay below zero (the label came first) is a delay of zero.
"""

from __future__ import annotations

import math

PER_OCTAVE = 8
MOST = 400
"""No bin is higher: 2^50 seconds."""

SQL = f"toUInt16(if({{delay_s}} < 1, 0, least({MOST}, 1 + floor({PER_OCTAVE} * log2(greatest(1, {{delay_s}}))))))"
"""The bin of a delay in seconds, an SQL expression with the place ``{delay_s}``."""


def end_s(bin_: int) -> float:
    """Where a bin ends, in seconds."""
    return float(2 ** (bin_ / PER_OCTAVE))


def start_s(bin_: int) -> float:
    """Where a bin begins, in seconds."""
    return 0.0 if bin_ == 0 else end_s(bin_ - 1)


def bin_of(delay_s: float) -> int:
    """The bin that a delay in seconds falls into."""
    return 0 if delay_s < 1 else min(MOST, 1 + math.floor(PER_OCTAVE * math.log2(delay_s)))


def followed(age_s: float) -> int:
    """How many whole bins, counted from the first, lie within an age in seconds."""
    return 0 if age_s < 1 else min(MOST, 1 + math.floor(PER_OCTAVE * math.log2(age_s)))
