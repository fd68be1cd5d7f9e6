"""Samples of rows of both sides of a comparison: uniform, and the same rows each time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from upshot_joiner.store.client import Store
from upshot_monitoring.profiles.read import Window

_SEED = 5000
_SERVED = """
SELECT * EXCEPT (at) FROM (
SELECT {expressions}, predicted_at AS at FROM {table} FINAL
WHERE toStartOfHour(predicted_at) >= {{start:DateTime('UTC')}} AND toStartOfHour(predicted_at) < {{end:DateTime('UTC')}} {version}
ORDER BY sipHash64(request_id, item_id, model_version) LIMIT {{rows:UInt32}}
) ORDER BY at
"""


def of_served(store: Store, table: str, window: Window, expressions: Sequence[str], rows: int) -> pa.Table:
    """At most ``rows`` served rows of a window, chosen by a hash of their identity, in the order of their time.

    ``expressions``: SQL over a row; the answer has a column ``c0``, ``c1``, ... for each.
    """
    version = "" if window.version is None else "AND model_version = {version:String}"
    named = ", ".join(f"{expression} AS c{i}" for i, expression in enumerate(expressions))
    return store.arrow(
        _SERVED.format(expressions=named, table=table, version=version),
        {"start": window.start, "end": window.end, "version": window.version or "", "rows": rows},
    )


def of_parquet(parquet: Path, names: Sequence[str], rows: int) -> pa.Table:
    """At most ``rows`` rows of a Parquet file, drawn without replacement, in the order of the file. A name may be given twice."""
    opened = pq.ParquetFile(parquet)
    total = opened.metadata.num_rows
    if total <= rows:
        return opened.read(columns=list(dict.fromkeys(names)))
    # Not every so many rows: a training set may be ordered by something that comes back.
    chosen = np.sort(np.random.default_rng(_SEED).choice(total, rows, replace=False))
    parts, offset = [], 0
    for batch in opened.iter_batches(columns=list(dict.fromkeys(names))):
        here = chosen[np.searchsorted(chosen, offset) : np.searchsorted(chosen, offset + batch.num_rows)]
        if len(here):
            parts.append(pa.table(batch).take(pa.array(here - offset)))
        offset += batch.num_rows
    return pa.concat_tables(parts)
