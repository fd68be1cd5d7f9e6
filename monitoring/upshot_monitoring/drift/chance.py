"""What a statistic would be without any drift, by chance alone.

Two samples of the same source differ: a categorical feature with 100 values and 900 rows a day has a Jensen-Shannon distance
of 0.12 from last month by chance. A statistic above its threshold is a verdict only if chance does not reach it.

Method: pool both samples, draw both anew from the pool with the same row counts (seeded), compute the statistic; from 40 such
draws the limit is the mean plus six standard deviations (the distribution leans to the right).

Paper: B. Efron, R. J. Tibshirani, "An Introduction to the Bootstrap", chapter 16, Chapman & Hall, 1993.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from upshot_monitoring.drift.cells import pooled_buckets
from upshot_monitoring.drift.registry import Statistic
from upshot_monitoring.profiles.profile import Floats, Profile

DRAWS = 40
FIRST_DRAWS = 6
FAR = 3.0
DEVIATIONS = 6.0
_SEED = 20130401


def chance_limit(statistic: Statistic, reference: Profile, current: Profile, seen: float = 0.0) -> float:
    """The largest value of the statistic that chance explains, with these row counts.

    ``seen`` is the value in question: where a few draws show that it is far beyond chance, no more are made.
    """
    rng = np.random.default_rng(_SEED)
    draw = _numeric_draw if reference.kind in ("numeric", "vector") else _class_draw
    found: list[float] = []
    for size in (FIRST_DRAWS, DRAWS - FIRST_DRAWS):
        found += [statistic(*draw(reference, current, rng)) for _ in range(size)]
        limit = float(np.mean(found) + DEVIATIONS * np.std(found, ddof=1))
        if seen > FAR * max(limit, *found):
            break
    return limit


def _numeric_draw(reference: Profile, current: Profile, rng: np.random.Generator) -> tuple[Profile, Profile]:
    pooled = pooled_buckets(reference, current)
    counts = pooled.reference + pooled.current
    means = (pooled.sums_reference + pooled.sums_current) / counts

    def drawn(like: Profile) -> Profile:
        new: Floats = rng.multinomial(like.n, counts / counts.sum()).astype(np.float64)
        kept = new > 0
        return Profile(
            rows=like.n,
            n=like.n,
            scale=reference.scale,
            buckets=np.flatnonzero(kept),
            counts=new[kept],
            sums=(new * means)[kept],
            # Without the spread inside a bucket, which is small; what is compared is the spread between them.
            sums2=(new * means * means)[kept],
            lows=pooled.lows[kept],
            highs=pooled.highs[kept],
        )

    return drawn(reference), drawn(current)


def _class_draw(reference: Profile, current: Profile, rng: np.random.Generator) -> tuple[Profile, Profile]:
    total: dict[str, float] = {}
    for profile in (reference, current):
        for value, count in zip(profile.values, profile.value_counts, strict=True):
            total[value] = total.get(value, 0.0) + float(count)
    values = sorted(total)
    weights = np.array([*(total[value] for value in values), float(reference.overflow + current.overflow)])

    def drawn(like: Profile) -> Profile:
        rows = like.bools + like.strs
        new = rng.multinomial(rows, weights / weights.sum())
        return replace(
            like,
            rows=rows,
            values=tuple(values),
            value_counts=new[:-1].astype(np.float64),
            overflow=int(new[-1]),
        )

    return drawn(reference), drawn(current)
