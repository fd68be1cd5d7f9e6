"""Batch scoring: rows of 30 features as one frame, against a loop of `log_prediction` over the same rows.

The client alone: batches are encoded and compressed, and thrown away. CPU seconds, so that a busy machine matters less.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa

import upshot
from upshot.capture.frames import Layout, log_frame
from upshot.delivery.batch import Batch
from upshot.delivery.transport.contract import Receipt
from upshot.settings import Settings
from upshot.writer import Writer

N_ROWS = 300_000
N_LOOP = 15_000
"""As many as a queue holds: the loop is not held up by its own sender."""


class Nowhere:
    """Takes everything at once."""

    def send(self, batch: Batch, *, timeout_s: float) -> Receipt:
        """All of it is stored."""
        return Receipt(batch.n_events)

    def close(self) -> None:
        """Nothing to do."""


def made(n: int) -> pd.DataFrame:
    """24 floats, 4 integers, 2 texts, a prediction and a user."""
    random = np.random.default_rng(0)
    columns: dict[str, Any] = {f"float_{i}": random.normal(size=n) for i in range(24)}
    columns |= {f"int_{i}": random.integers(0, 1000, n) for i in range(4)}
    columns |= {"country": random.choice(["DE", "FR", "US"], n), "device": random.choice(["phone", "desk"], n)}
    return pd.DataFrame(columns | {"prediction": random.random(n), "user_id": random.integers(0, 10**6, n)})


def cpu_us(call: Callable[[], object], n: int) -> float:
    """CPU microseconds per row."""
    started = time.process_time()
    call()
    return (time.process_time() - started) / n * 1e6


def framed(frame: Any) -> float:
    """All rows by `log_frame`, into nothing."""
    writer = Writer(Settings())
    layout = Layout(entities={"user": "user_id"})

    def call() -> None:
        log_frame(writer, frame, layout, model="m", model_version="1", submit=lambda _: True)

    return cpu_us(call, N_ROWS)


def looped(frame: pd.DataFrame) -> float:
    """Row by row, until everything is delivered."""
    features = [name for name in frame.columns if name not in ("prediction", "user_id")]
    with upshot.Logger(transport=Nowhere(), model="m", model_version="1", flush_interval_s=0.1) as logger:

        def call() -> None:
            for row in frame.to_dict("records"):
                logger.log_prediction(
                    {name: row[name] for name in features}, row["prediction"], entities={"user": row["user_id"]}
                )
            logger.flush()

        return cpu_us(call, N_LOOP)


def main() -> None:
    """Print the table."""
    frame = made(N_ROWS)
    by_loop = min(looped(frame.head(N_LOOP)) for _ in range(3))
    print(f"{'':34} {'CPU/row':>9} {'rows/s/core':>12} {'ratio':>6}")
    print(f"{'log_prediction in a loop':34} {by_loop:7.2f}us {1e6 / by_loop:12,.0f} {1:6.1f}")
    forms = {"pandas": frame, "pyarrow": pa.table(frame), "polars": pl.from_pandas(frame)}
    for name, given in forms.items():
        us = min(framed(given) for _ in range(2))
        print(f"{'log_frame, ' + name:34} {us:7.2f}us {1e6 / us:12,.0f} {by_loop / us:6.1f}")


if __name__ == "__main__":
    main()
