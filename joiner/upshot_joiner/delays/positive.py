"""Which values of a label count as positive, in SQL over the columns of ``outcomes``."""

from __future__ import annotations

import json

from upshot_joiner.config import ModelConfig
from upshot_joiner.store.keys import name_hash

SQL = (
    "(state = 'labelled' AND if({positive_is_text:Bool} OR value_number IS NULL, value_text = {positive_text:String}, "
    "value_number = {positive_number:Float64}))"
)
"""1, 1.0 and true are the same value; "1" is another one, unless the configuration says the text "1"."""


def parameters(config: ModelConfig) -> dict[str, object]:
    """What fills the places of :data:`SQL`."""
    positive = config.positive
    is_text = isinstance(positive, str)
    return {
        "positive_is_text": is_text,
        "positive_text": str(positive),
        "positive_number": 0.0 if isinstance(positive, str) else float(positive),
    }


def setup(config: ModelConfig) -> int:
    """A hash of what the counts of positives depend on."""
    return name_hash(json.dumps(config.positive))
