"""What a rule may ask for, by name; and whether a rule asks for something that there is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from upshot_joiner.config import ModelConfig, parse_duration
from upshot_monitoring.alerts.expression import Comparison, WrongExpression
from upshot_monitoring.performance.catalogue import CATALOGUE

Kind = Literal["number", "seconds", "verdict"]

HOUR = timedelta(hours=1)
MAX_WINDOW = timedelta(days=400)
ROLES = ("feature", "score", "prediction", "label", "freshness", "attribution", "ranking")
VERDICTS = ("ok", "drift")

_COMPARED = frozenset({"version", "window", "baseline"})
_COLUMN = _COMPARED | {"feature", "role"}
_AGED = frozenset({"feature", "version", "window"})
_MEASURED = frozenset({"label", "version", "segment", "window"})
_SEGMENT = re.compile(r"(features|tags)\.[^=]+=.*", re.DOTALL)


@dataclass(frozen=True)
class About:
    """One name: what its value is, which options it takes, and what it means."""

    kind: Kind
    options: frozenset[str]
    meaning: str


def _comparison(of: str, options: frozenset[str], column: frozenset[str]) -> dict[str, About]:
    return {
        f"{of}.share": About("number", options, "share of the judged features that drifted"),
        f"{of}.count": About("number", options, "how many features drifted"),
        f"{of}.statistic": About("number", column, "the statistic of one column"),
        f"{of}.p_value": About("number", column, "its p-value, adjusted for all columns"),
        f"{of}.verdict": About("verdict", column, "its verdict: ok or drift"),
    }


NAMES: dict[str, About] = {
    **_comparison("drift", _COMPARED, _COLUMN),
    **_comparison("skew", _COMPARED - {"baseline"}, _COLUMN - {"baseline"}),
    **{
        f"freshness.{which}": About("seconds", _AGED, f"{of} age of a feature's values when they were served")
        for which, of in (
            ("p50", "the median"),
            ("p90", "the 90th percentile of the"),
            ("p99", "the 99th percentile of the"),
        )
    },
    "freshness.max": About("seconds", _AGED, "the largest age of a feature's values when they were served"),
    "freshness.stale": About("number", _AGED, "share of a feature's values that were older than its max_age"),
    "drift.multivariate": About(
        "number", frozenset(), "how many multivariate methods say drift of the newest closed window"
    ),
    "labels.coverage": About("number", _MEASURED, "labelled and defaulted rows over matured rows"),
    "labels.base_rate": About("number", _MEASURED, "share of positives among matured rows (binary, ranking)"),
    "labels.silence": About(
        "seconds", frozenset({"label"}), "for how long its feed has been silent; 0 while it is not"
    ),
    "traffic.predictions": About(
        "number", frozenset({"version", "window"}), "predictions made in the last whole hours"
    ),
    "traffic.silence": About("seconds", frozenset({"version"}), "since the last prediction came"),
    "lag.join": About("seconds", frozenset(), "since the oldest of what is not joined was stored, on any server"),
    "lag.intake": About("number", frozenset(), "events that wait to be stored"),
    "lag.roll_ups": About("number", frozenset(), "hours that wait to be rolled up"),
    "writers.unexplained": About(
        "number", frozenset(), "numbers of the model's writers that never came, for no known reason"
    ),
    "writers.lossy": About("number", frozenset(), "writers of the model with such gaps"),
}
"""All but ``performance.<metric>``, with ``.low`` and ``.high`` of its interval."""


def metric_of(name: str) -> tuple[str, str] | None:
    """``performance.roc_auc.low`` as ("roc_auc", "low"), ``performance.roc_auc`` as ("roc_auc", ""); None for other names."""
    if not name.startswith("performance."):
        return None
    rest = name.removeprefix("performance.")
    for end in ("low", "high"):
        if rest.endswith(f".{end}"):
            return rest.removesuffix(f".{end}"), end
    return rest, ""


def window_of(text: str) -> timedelta | None:
    """A window: whole hours, 400 days at most; None where the text is none."""
    try:
        length = parse_duration(text)
    except (ValueError, OverflowError):
        return None
    good = isinstance(length, timedelta) and HOUR <= length <= MAX_WINDOW and not length % HOUR
    return length if isinstance(length, timedelta) and good else None


def check(one: Comparison, config: ModelConfig) -> None:
    """Raise :class:`WrongExpression` where a comparison asks for what there is not, or compares what cannot be compared."""
    about = _about(one, config)
    for key, text in one.of.options:
        if key not in about.options:
            raise WrongExpression("unknown_option", one.at)
        _check_option(one, key, text)
    if (
        "feature" in about.options
        and one.of.option("feature") is None
        and one.of.option("role") not in ("score", "prediction", "ranking")
    ):
        raise WrongExpression("missing_feature", one.at)
    if about.kind == "verdict":
        if one.operator not in ("==", "!="):
            raise WrongExpression("verdicts_are_equal_or_not", one.against_at)
        if one.against not in VERDICTS:
            raise WrongExpression("unknown_verdict", one.against_at)
    elif isinstance(one.against, str):
        raise WrongExpression("missing_number", one.against_at)
    elif one.is_duration and about.kind != "seconds":
        raise WrongExpression("not_a_duration", one.against_at)


def _about(one: Comparison, config: ModelConfig) -> About:
    metric = metric_of(one.of.name)
    if metric is None:
        if one.of.name == "labels.base_rate":
            _check_metric("base_rate", config, one)
        if one.of.name not in NAMES:
            raise WrongExpression("unknown_name", one.at)
        return NAMES[one.of.name]
    _check_metric(metric[0], config, one)
    return About("number", _MEASURED, "a metric of matured rows")


def _check_metric(name: str, config: ModelConfig, one: Comparison) -> None:
    if name in {about.name for about in CATALOGUE[config.task]}:
        return
    elsewhere = any(about.name == name for of_task in CATALOGUE.values() for about in of_task)
    raise WrongExpression("metric_of_another_task" if elsewhere else "unknown_metric", one.at)


def _check_option(one: Comparison, key: str, text: str) -> None:
    wrong = (
        (key == "window" and window_of(text) is None)
        or (key == "baseline" and text not in ("reference", "previous", "last_week"))
        or (key == "role" and text not in ROLES)
        or (key == "segment" and not _SEGMENT.fullmatch(text))
        or (key in ("feature", "label") and not text)
    )
    if wrong:
        raise WrongExpression(f"invalid_{key}", one.at)
