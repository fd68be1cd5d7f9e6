"""Answers and reports as the few lines of Python that reproduce them, for a notebook or a ticket.

Everything that came from a request (names, versions, texts) stands in the lines as a Python literal, so it stays data there.
"""

from __future__ import annotations

import pprint
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

MEDIA_TYPE = "text/x-python; charset=utf-8"

_ANSWER = '''"""{what} of a model, as Upshot answers it. Needs: pip install httpx"""

import os

import httpx

url = os.environ.get("UPSHOT_URL", {url!r})
path = {path!r}
asked = {asked}

answer = httpx.get(url + path, params=asked, timeout=600).raise_for_status().json()
{show}'''

_SHOW = {
    "Drift": """for row in answer["features"]:
    print(row["verdict"], row["feature"], row["method"], row["statistic"], row["threshold"], sep="\\t")
""",
    "Performance": """for window in answer["windows"]:
    print(window["start"], window["rows"], window["matured"], window["metrics"], sep="\\t")
""",
    "One feature": """for window in answer["windows"]:
    print(window["start"], window["verdict"], window["statistic"], sep="\\t")
""",
}
_SHOW["Skew"] = _SHOW["Drift"]
_SHOW["Freshness"] = """for row in answer["features"]:
    print(row["verdict"], row["feature"], row["age_s"], row["stale_share"], row["reason"], sep="\\t")
"""
_SHOW["Attributions"] = """print(answer["ranking"])
for row in answer["features"]:
    print(row["verdict"], row["feature"], row["importance"], row["importance_before"], sep="\\t")
"""

_REPORT = '''"""An Evidently report, made again from its samples with the methods, thresholds and scores that Upshot pinned.

Needs: pip install "evidently>=0.7.21,<0.8" httpx pyarrow
"""

import io
import json
import os

os.environ["DO_NOT_TRACK"] = "1"

import httpx
import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.legacy.calculations.stattests.registry import StatTest, register_stattest
from evidently.legacy.core import ColumnType
from evidently.presets import DataDriftPreset

url = os.environ.get("UPSHOT_URL", {url!r})
report_id = {report_id!r}
title = {title}
columns = {columns}


def shown(text):  # Evidently writes names and values into an inline script of its page, and does not escape them
    return text.translate(str.maketrans("<>&", "\\u2039\\u203a\\uff06"))


columns = [{{**column, "name": shown(column["name"])}} for column in columns]
numeric = [column["name"] for column in columns if column["kind"] == "numeric"]
classes = [column["name"] for column in columns if column["kind"] != "numeric"]
definition = DataDefinition(numerical_columns=numeric, categorical_columns=classes)


def sample(side):
    file = httpx.get(f"{{url}}/v1/reports/{{report_id}}/files/{{side}}.parquet", timeout=600).raise_for_status().content
    frame = pd.read_parquet(io.BytesIO(file)).rename(columns=shown)
    for name in numeric:
        frame[name] = pd.to_numeric(frame[name]).astype("float64")
    for name in classes:
        frame[name] = frame[name].astype(object).map(shown, na_action="ignore")
    return Dataset.from_pandas(frame, data_definition=definition)


scores = {{column["name"]: column for column in columns}}
for method in sorted({{column["method"] for column in columns}}):
    register_stattest(
        StatTest(
            name=f"upshot_{{method}}",
            display_name=f"{{method.replace('_', ' ')}}, all rows",
            allowed_feature_types=[ColumnType.Numerical, ColumnType.Categorical],
            default_threshold=0.1,
        ),
        lambda reference, current, kind, threshold: (
            float(scores[str(reference.name)]["score"]),
            bool(scores[str(reference.name)]["drifted"]),
        ),
    )

preset = DataDriftPreset(
    columns=[column["name"] for column in columns],
    per_column_method={{column["name"]: f"upshot_{{column['method']}}" for column in columns}},
    per_column_threshold={{column["name"]: column["threshold"] for column in columns}},
)
report = Report([preset], include_tests=True).run(sample("current"), sample("reference"), name=shown(title))
report.save_html(f"report-{{report_id}}.html")
with open(f"report-{{report_id}}.json", "w") as file:
    json.dump(report.dict(), file, default=str)
'''


def answer_as_code(what: str, path: str, asked: Mapping[str, Any], url: str) -> str:
    """The lines that ask for an answer again. ``asked``: its parameters, with the range as it was resolved; None is left out."""
    given = {name: _plain(value) for name, value in asked.items() if value is not None}
    return _ANSWER.format(what=what, url=url, path=quote(path), asked=_literal(given), show=_SHOW[what])


def report_as_code(report_id: str, work: Mapping[str, Any], url: str) -> str:
    """The lines that make a report again. ``work``: what its worker was given (``title``, ``columns``)."""
    return _REPORT.format(
        url=url, report_id=report_id, title=_literal(work["title"]), columns=_literal(work["columns"])
    )


def _literal(value: Any) -> str:
    # ASCII: whatever reads the file as whatever encoding reads the same.
    return ascii(value) if isinstance(value, str) else pprint.pformat(_escaped(value), width=120, sort_dicts=False)


class _Ascii(str):
    """A text whose literal has nothing but ASCII in it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return ascii(str(self))


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return _Ascii(value)
    if isinstance(value, Mapping):
        return {_escaped(name): _escaped(one) for name, one in value.items()}
    return [_escaped(one) for one in value] if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if hasattr(value, "isoformat") else value
