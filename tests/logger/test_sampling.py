"""Sampling: which requests are kept passes for chance, is the same everywhere, and can be undone by weights."""

from __future__ import annotations

import math
import random
import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import pytest

from upshot.capture.request_id import request_id_source
from upshot.capture.sampling import Sampler, keep_fraction, position

if TYPE_CHECKING:
    from upshot_joiner.store.client import Store

N = 40_000
_random = random.Random(4)
_new_request_id = request_id_source()

FAMILIES: dict[str, Callable[[int], str]] = {
    "decimals": str,
    "decimals padded": "{:010}".format,
    "odd numbers": lambda i: str(2 * i + 1),
    "multiples of ten": lambda i: str(10 * i),
    "prefixed": "order-{}".format,
    "hexadecimal": "{:016x}".format,
    "UUID counting up": lambda i: str(uuid.UUID(int=i)),
    "UUIDv4": lambda _: str(uuid.UUID(int=_random.getrandbits(128), version=4)),
    "UUIDv7": lambda _: _new_request_id(),
    "not ASCII": "заказ-{}".format,
}
RATES = (0.5, 0.25, 0.1, 0.01)


@pytest.fixture(params=FAMILIES)
def positions(request: pytest.FixtureRequest) -> np.ndarray:
    """Positions of N requests in a row, from 0 to 1."""
    make = FAMILIES[request.param]
    return np.array([position(make(i)) for i in range(N)]) / 2**32


GOLDEN = {
    "0": 973348604,
    "1": 1421521325,
    "a": 3141450851,
    "user-1": 3212948381,
    "0190b0c8-1234-7abc-8def-0123456789ab": 1944402353,
    "日本語": 162346730,
}


def test_positions_are_pinned():
    """They may never change: two releases, or the SDK and a query, would disagree about what was kept."""
    assert {request_id: position(request_id) for request_id in GOLDEN} == GOLDEN


def test_the_documented_query_finds_the_same_positions(store: Store):
    """ClickHouse computes them from the ID, so a query can tell which requests were kept."""
    found = store.query(
        """WITH bitAnd(CRC32(request_id) * 2654435761, 4294967295) AS h
        SELECT request_id, bitAnd(bitXor(h, bitShiftRight(h, 15)) * 2246822507, 4294967295) AS position
        FROM (SELECT arrayJoin({ids:Array(String)}) AS request_id)""",
        {"ids": list(GOLDEN)},
    )
    assert dict(found) == GOLDEN


def test_an_id_that_is_no_unicode_stands_where_its_event_will():
    """The event bears U+FFFD; so must the verdict."""
    assert position("r\ud800") == position("r\ufffd")
    for rate in RATES:
        assert Sampler(rate).keeps("r\ud800") == Sampler(rate).keeps("r\ufffd")


@pytest.mark.parametrize("rate", RATES)
def test_the_share_kept_is_the_rate(positions, rate):
    """Within five standard errors."""
    assert abs((positions < rate).mean() - rate) < 5 * math.sqrt(rate * (1 - rate) / N)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("size", [10, 16, 100, 1000])
def test_neighbours_are_kept_independently(positions, rate, size):
    """The number kept of each so many in a row spreads as that of coin tosses does: neither evenly nor in clumps."""
    kept = (positions < rate).reshape(-1, size).sum(axis=1)
    dispersion = kept.var() / (size * rate * (1 - rate))
    kurtosis = 2 + (1 - 6 * rate * (1 - rate)) / (size * rate * (1 - rate))  # of a binomial, plus 2
    assert abs(dispersion - 1) < 6 * math.sqrt(kurtosis / len(kept))


@pytest.mark.parametrize("rate", RATES)
def test_what_is_kept_does_not_repeat(positions, rate):
    """No distance at which one verdict foretells the other."""
    kept = (positions < rate) - rate
    for lag in (1, 2, 3, 4, 5, 8, 10, 16, 32, 64, 100, 128, 256, 1000, 1024, 10_000):
        assert abs(np.dot(kept[lag:], kept[:-lag]) / kept.var() / N) < 6 / math.sqrt(N)


def test_all_positions_are_equally_likely(positions):
    """Chi-squared over 64 bins."""
    counts = np.histogram(positions, bins=64, range=(0, 1))[0]
    chi_squared = ((counts - N / 64) ** 2 / (N / 64)).sum()
    assert abs(chi_squared - 63) < 6 * math.sqrt(2 * 63)


def test_one_changed_letter_changes_half_of_the_bits():
    """Full avalanche: of a pair of IDs that differ in one letter, each bit differs with a probability of one half."""
    flips = np.zeros(32)
    for i in range(2000):
        ours, theirs = position(f"request-{i}-a"), position(f"request-{i}-b")
        flips += [(ours ^ theirs) >> bit & 1 for bit in range(32)]
    upper = flips[8:] / 2000  # the bits that decide at every rate that is not below a millionth
    assert abs(upper - 0.5).max() < 0.06


def test_what_is_kept_at_a_rate_is_kept_at_every_higher_one():
    """So a raised rate only adds requests."""
    rates = [0.0, 1e-9, 0.001, 0.01, 0.1, 0.25, 0.5, 0.999, 1.0]
    samplers = [Sampler(rate) for rate in rates]
    for i in range(2000):
        verdicts = [sampler.keeps(str(i)) for sampler in samplers]
        assert verdicts == sorted(verdicts)
        assert verdicts[0] is False
        assert verdicts[-1] is True


@pytest.mark.parametrize("rate", [-0.1, 1.1, math.nan])
def test_a_rate_is_from_zero_to_one(rate):
    """Anything else is a mistake."""
    with pytest.raises(ValueError, match="from 0 to 1"):
        Sampler(rate)


@pytest.mark.parametrize(
    ("fill", "fraction"),
    [
        (0, 1),
        (0.499, 1),
        (0.5, 0.5),
        (0.749, 0.5),
        (0.75, 0.25),
        (0.874, 0.25),
        (0.875, 0.125),
        (1.0, 0.125),
        (2.0, 0.125),
    ],
)
def test_the_fuller_the_queue_the_less_is_kept(fill, fraction):
    """Halved each time that half of the rest is gone."""
    assert keep_fraction(fill) == fraction


@pytest.mark.parametrize("rate", [1.0, 0.6, 0.3, 0.1])
@pytest.mark.parametrize("fill", [0.0, 0.5, 0.75, 0.875])
def test_rate_and_overload_nest(rate, fill):
    """The smaller of the two is the probability, for one position decides; weights by their product would be wrong."""
    sampler = Sampler(rate)
    probability = min(rate, keep_fraction(fill))
    found = [sampler.keep_probability(str(i), fill) for i in range(N)]
    assert set(found) == {0.0, probability} - ({0.0} if probability == 1 else set())
    kept = sum(p > 0 for p in found)
    assert abs(kept - N * probability) <= 5 * math.sqrt(N * probability * (1 - probability))
    for i, p in enumerate(found[:2000]):
        assert (p > 0) == (sampler.keeps(str(i)) and Sampler(keep_fraction(fill)).keeps(str(i)))


def overloaded(rate: float, seed: int) -> Iterator[tuple[float, bool, float]]:
    """A queue that a wave of requests overruns: (value, whether it is a positive, probability with which it was kept, or 0).

    Values and positives drift with the wave, so that a mean that forgot the weights would show the calm hours.
    """
    rng = random.Random(seed)
    sampler = Sampler(rate)
    queued, room = 0.0, 2000
    for i in range(N):
        wave = math.sin(i / N * 6 * math.pi) ** 2
        queued = max(0.0, queued - rng.uniform(0.05, 0.55) * (1.4 - wave))  # how many the sender took meanwhile
        probability = sampler.keep_probability(f"{seed}-{i}", queued / room)
        if probability and queued < room:
            queued += 1
        value = rng.gauss(10 + 20 * wave, 5)
        yield value, rng.random() < 0.02 + 0.2 * wave, probability


@pytest.mark.parametrize("rate", [1.0, 0.4])
def test_weights_undo_an_overload(rate):
    """Count, mean and share of positives over what was kept, each event weighing 1 / keep_probability, are those of all requests.

    Over 20 simulated overloads: each within 5 of its standard errors, and on average without bias. The unweighted mean is far off.
    """
    errors, off_by = [], []
    levels = set()
    for seed in range(20):
        rows = list(overloaded(rate, seed))
        levels |= {p for *_, p in rows if p}
        weights = np.array([1 / p if p else 0 for *_, p in rows])
        values, positives = np.array([v for v, *_ in rows]), np.array([positive for _, positive, _ in rows])
        variance = np.where(weights > 0, weights * (weights - 1), 0)  # of Horvitz and Thompson's estimator, by request
        mean = (weights * values).sum() / weights.sum()
        share = (weights * positives).sum() / weights.sum()
        errors.append(
            (
                (weights.sum() - N) / math.sqrt(variance.sum()),
                (mean - values.mean()) / math.sqrt((variance * (values - mean) ** 2).sum()) * N,
                (share - positives.mean()) / math.sqrt((variance * (positives - share) ** 2).sum()) * N,
            )
        )
        off_by.append(
            abs(values[weights > 0].mean() - values.mean()) / math.sqrt((variance * (values - mean) ** 2).sum()) * N
        )
    assert len(levels) >= 3  # the queue did overrun
    assert np.abs(errors).max() < 5
    assert np.abs(np.mean(errors, axis=0)).max() < 4 / math.sqrt(len(errors))
    assert 0.5 < np.std(errors) < 1.5  # the standard errors are right, too
    assert np.mean(off_by) > 5
