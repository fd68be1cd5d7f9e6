"""Rows of worlds without drift, and with one that no single feature shows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from threadpoolctl import threadpool_limits

from upshot_monitoring.multivariate.sides import Sides
from upshot_monitoring.profiles.profile import Floats

threadpool_limits(1)
"""As in the worker: on a busy machine, threads that wait for each other take a hundred times as long as one."""

World = Callable[[np.random.Generator, int], Floats]


def normals(correlation: float) -> World:
    """Two standard normals."""
    matrix = [[1.0, correlation], [correlation, 1.0]]
    return lambda rng, rows: rng.multivariate_normal([0.0, 0.0], matrix, rows)


def correlated(columns: int) -> World:
    """Normals that share a factor."""
    return lambda rng, rows: 0.6 * rng.normal(size=(rows, 1)) + 0.8 * rng.normal(size=(rows, columns))


def tied(columns: int) -> World:
    """Small whole numbers: most rows are equal in most columns."""
    made = correlated(columns)
    return lambda rng, rows: np.round(np.abs(made(rng, rows)))


def long_tailed(columns: int) -> World:
    """Log-normals, some of which are a thousand times the others."""
    made = correlated(columns)
    return lambda rng, rows: np.exp(1.5 * made(rng, rows))


def quiet(world: World, reference: int, current: int, seed: int) -> Sides:
    """Two sides that do not differ."""
    rng = np.random.default_rng(seed)
    return Sides.of(world(rng, reference), world(rng, current))
