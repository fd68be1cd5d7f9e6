"""Mean and variance of every dimension from all rows of both sides, one scan each."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from upshot_joiner.store.client import Store
from upshot_monitoring.drift.means import Means
from upshot_monitoring.profiles.columns import VECTOR_ROWS_PER_BLOCK
from upshot_monitoring.profiles.vector_profile import MAX_DIMENSIONS
from upshot_monitoring.profiles.vector_rollup import LARGEST_NORM

_USUAL = """
SELECT length(x) AS size FROM %s WHERE side = 0 GROUP BY size ORDER BY count() DESC, size LIMIT 1
"""
_MEANS = f"""
SELECT side, count(), avgForEach(kept), varPopStableForEach(kept) FROM (
  SELECT side, arraySlice(x, 1, {MAX_DIMENSIONS}) AS kept FROM %s WHERE length(x) = {{size:UInt64}}
) WHERE L2Norm(kept) < {LARGEST_NORM} GROUP BY side SETTINGS max_block_size = {VECTOR_ROWS_PER_BLOCK}
"""


def exact_means(store: Store, source: str, params: Mapping[str, object]) -> tuple[Means | None, int, int]:
    """Of the vectors in ``source`` (``side`` and ``x``) that have the reference's usual length, and how many those are on both
    sides; None where a side has none."""
    usual = store.query(_USUAL % source, params)
    if not usual:
        return None, 0, 0
    found = {row[0]: row[1:] for row in store.query(_MEANS % source, {**params, "size": usual[0][0]})}
    rows = [int(found[side][0]) if side in found else 0 for side in (0, 1)]
    if not all(rows):
        return None, rows[0], rows[1]
    (_, *of_reference), (_, *of_current) = found[0], found[1]
    (means_r, variances_r), (means_c, variances_c) = (map(np.array, side) for side in (of_reference, of_current))
    return Means(rows[0], rows[1], means_r, means_c, variances_r, variances_c), rows[0], rows[1]
