"""Evidently's own numbers for two Parquet files, in a process of its own: importing it takes seconds and 280 MB.

    python -m tests.monitoring.evidently_scores REFERENCE CURRENT '{"wasserstein": ["n00", ...], ...}'

Prints JSON: method -> column -> value.
"""

from __future__ import annotations

import json
import os
import sys

os.environ["DO_NOT_TRACK"] = "1"

import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.metrics import ValueDrift

reference, current = (pd.read_parquet(file) for file in sys.argv[1:3])
wanted: dict[str, list[str]] = json.loads(sys.argv[3])
numeric = [name for name in reference if pd.api.types.is_numeric_dtype(reference[name])]
definition = DataDefinition(
    numerical_columns=numeric, categorical_columns=[name for name in reference if name not in numeric]
)
pairs = [(method, column) for method, columns in wanted.items() for column in columns]
snapshot = Report([ValueDrift(column=column, method=method) for method, column in pairs]).run(
    Dataset.from_pandas(current, data_definition=definition), Dataset.from_pandas(reference, data_definition=definition)
)
scores: dict[str, dict[str, float]] = {method: {} for method in wanted}
for (method, column), metric in zip(pairs, snapshot.dict()["metrics"], strict=True):
    assert metric["config"]["column"] == column
    scores[method][column] = float(metric["value"])
print(json.dumps(scores))
