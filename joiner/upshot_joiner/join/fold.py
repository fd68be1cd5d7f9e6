"""The fold in SQL (``fold.sql``), for a set of predictions and label events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from importlib import resources

import pyarrow as pa

from upshot_joiner.config import ModelConfig
from upshot_joiner.join.attributed import attributed
from upshot_joiner.store.client import Store
from upshot_joiner.store.keys import Keys

FOLD = resources.files("upshot_joiner.join").joinpath("fold.sql").read_text("utf-8")

# Who is folded: predictions and label events of a batch of keys, as they are now.
SPINE_OF_BATCH = "SELECT * FROM predictions FINAL WHERE request_key IN ($keys)"
_OF_BATCH = "request_key IN ($keys)"
EVENTS_OF_BATCH = f"SELECT * FROM label_events FINAL WHERE {_OF_BATCH}"
ATTRIBUTED_OF_BATCH = attributed(_OF_BATCH)
# ... of one request,
SPINE_OF_REQUEST = (
    "SELECT * FROM predictions FINAL WHERE request_key = {request_key:UInt128} AND request_id = {request_id:String}"
)
_OF_REQUEST = "request_key = {request_key:UInt128} AND request_id = {request_id:String}"
EVENTS_OF_REQUEST = f"SELECT * FROM label_events FINAL WHERE {_OF_REQUEST}"
ATTRIBUTED_OF_REQUEST = attributed(_OF_REQUEST)
# ... of the request keys from one to another,
_OF_RANGE = "request_key BETWEEN {first:UInt128} AND {last:UInt128}"
SPINE_OF_RANGE = f"SELECT * FROM predictions FINAL WHERE {_OF_RANGE}"
EVENTS_OF_RANGE = f"SELECT * FROM label_events FINAL WHERE {_OF_RANGE}"
ATTRIBUTED_OF_RANGE = attributed(_OF_RANGE)
# ... of one model, wholly.
SPINE_OF_MODEL = "SELECT * FROM predictions FINAL WHERE model = {model:String}"
_OF_MODEL = "request_key IN (SELECT request_key FROM predictions WHERE model = {model:String})"
EVENTS_OF_MODEL = f"SELECT * FROM label_events FINAL WHERE {_OF_MODEL}"
ATTRIBUTED_OF_MODEL = attributed(_OF_MODEL)


def fold(
    store: Store,
    spine: str,
    events: str,
    configs: Mapping[str, ModelConfig],
    params: Mapping[str, object] | None = None,
    keys: Keys | None = None,
) -> pa.Table:
    """Outcomes of every label of the given predictions for which events are known: columns of ``outcomes`` and ``events``.

    ``spine`` and ``events`` are two of the sources above that belong together; those of a batch need its ``keys``.
    """
    sql = FOLD.replace("$spine", spine).replace("$events", events)
    return store.arrow(sql, {**rule_parameters(configs), **(params or {})}, keys)


def rule_parameters(configs: Mapping[str, ModelConfig]) -> dict[str, object]:
    """The rules of every configured label, as parallel arrays."""
    rules = [(model, name, label) for model, config in configs.items() for name, label in config.labels.items()]
    return {
        "rule_models": [model for model, _, _ in rules],
        "rule_names": [name for _, name, _ in rules],
        "rule_combines": [label.combine for _, _, label in rules],
        "rule_reject_late": [int(label.late == "reject") for _, _, label in rules],
        "rule_windows_us": [label.window // timedelta(microseconds=1) for _, _, label in rules],
        "rule_priorities": [list(label.source_priority) for _, _, label in rules],
    }


def models_of(configs: Iterable[tuple[str, ModelConfig]]) -> dict[str, ModelConfig]:
    """Only the models that have label rules: the others fold by the defaults."""
    return {model: config for model, config in configs if config.labels}
