"""Bring the stored scores in line with a changed positive class."""

from __future__ import annotations

from upshot_joiner.config import ModelConfig
from upshot_joiner.store.client import Store
from upshot_joiner.store.rows import positive_class

_RESCORE = """
ALTER TABLE %s UPDATE score = if(mapContains(probabilities, {positive:String}), probabilities[{positive:String}], prediction_number)
WHERE notEmpty(probabilities)
SETTINGS mutations_sync = 1
"""


def rescore(store: Store, table: str | None, config: ModelConfig) -> None:
    """Compute ``score`` anew for every row of a model's table (None: nothing served yet) that has probabilities."""
    if table is not None:
        store.command(_RESCORE % table, {"positive": positive_class(config)})
