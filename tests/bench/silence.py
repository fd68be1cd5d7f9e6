"""False alarms and delay of the breaker on simulated feeds: prints the table of docs/silence.md.

Run as ``python -m tests.bench.silence [PART OF A NAME ...]``. Nothing here is measured in time, so it may run beside anything.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.joiner.feeds import Feed, batches, poisson, run

SEEDS = 2


def day_and_night(hours: Any) -> Any:
    """Eighty per cent up and down."""
    return 1 + 0.8 * np.sin(hours / 24 * 2 * np.pi)


def weeks(hours: Any) -> Any:
    """Weekends at 30 per cent."""
    return np.where((hours // 24) % 7 >= 5, 0.3, 1.0) * day_and_night(hours)


def office(hours: Any) -> Any:
    """Nine to five on weekdays."""
    return np.where(((hours // 24) % 7 < 5) & (hours % 24 >= 9) & (hours % 24 < 17), 4.2, 0.0)


def waves(seed: int) -> Callable[[Any], Any]:
    """Another share every three days, log-normal with sigma 0.5."""

    def factor(hours: Any) -> Any:
        shares = np.exp(0.5 * np.random.default_rng(seed).standard_normal(len(hours) // 72 + 1))
        return np.repeat(shares, 72)[: len(hours)]

    return factor


FEEDS: dict[str, Callable[[int, int], Feed]] = {
    "2.4 labels a day": lambda days, seed: poisson(0.1, days, seed),
    "1 an hour": lambda days, seed: poisson(1, days, seed),
    "10 an hour": lambda days, seed: poisson(10, days, seed),
    "100 an hour": lambda days, seed: poisson(100, days, seed),
    "1,000 an hour": lambda days, seed: poisson(1000, days, seed),
    "20 an hour, ten days after the prediction": lambda days, seed: poisson(20, days, seed, delay_h=240),
    "20 an hour, traffic by day and night": lambda days, seed: poisson(20, days, seed, traffic=day_and_night),
    "20 an hour, and quiet weekends": lambda days, seed: poisson(20, days, seed, traffic=weeks),
    "20 an hour, labelled nine to five on weekdays": lambda days, seed: poisson(20, days, seed, labels=office),
    "20 an hour, a share in waves": lambda days, seed: poisson(20, days, seed, labels=waves(seed)),
    "500 in a nightly batch": lambda days, seed: batches(500, days, seed),
    "20 in a nightly batch": lambda days, seed: batches(20, days, seed),
    "500 in a batch on weekdays": lambda days, seed: batches(500, days, seed, weekdays=True),
    "500 in a nightly batch; 3 % come a night late": lambda days, seed: batches(500, days, seed, skip=0.03),
}


def main(wanted: list[str]) -> None:
    """Print a row per feed."""
    print("| feed | false openings a year | opened after | a decay to a fifth in 14 d, after |")
    print("| --- | ---: | ---: | ---: |")
    for name, make in FEEDS.items():
        if wanted and not any(part in name for part in wanted):
            continue
        alarms = 0
        delays, decays = [], []
        for seed in range(SEEDS):
            alarms += len(run(make(365, seed)).openings())
            dead = make(130, seed + 10).dying(90.37)
            last = np.flatnonzero(dead.arrivals)[-1] / 144
            delays += [day - last for day, _ in run(dead).openings(90.37)][:1]
            dying = make(130, seed + 20).dying(90, factor=0.2, over_days=14)
            decays += [day - 90 for day, _ in run(dying).openings(90)][:1]
        print(
            f"| {name} | {alarms / SEEDS:g} | {', '.join(_text(one) for one in delays) or 'never'} "
            f"| {', '.join(f'{one:.1f} d' for one in decays) or 'never'} |",
            flush=True,
        )


def _text(days: float) -> str:
    return f"{days * 24:.1f} h" if days < 4 else f"{days:.1f} d"


if __name__ == "__main__":
    main(sys.argv[1:])
