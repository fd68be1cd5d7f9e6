"""The configuration of a model (YAML file or ``PUT /v1/models/{model}``), and its history."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import pyarrow as pa
import pydantic
import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer

from upshot_joiner.clock import EPOCH, Stamper, to_micros
from upshot_joiner.errors import Place, Problem
from upshot_joiner.store.client import Store

Scalar = bool | int | float | str
Combine = Literal["first", "last", "sum", "mean", "min", "max", "majority", "count"]

RESERVED_LABEL = "shown"
"""See ``join/activation.py``."""

_UNITS = {"ms": 1e-3, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|[smhdw])\s*\Z")


def parse_duration(value: object) -> object:
    """``"90s"``, ``"24h"``, ``"30d"``, a number of seconds, or a timedelta, as a timedelta."""
    if isinstance(value, str):
        match = _DURATION.match(value)
        if match is None:
            raise ValueError("a duration is a number and a unit: ms, s, m, h, d or w")
        return timedelta(seconds=float(match[1]) * _UNITS[match[2]])
    if isinstance(value, int | float) and not isinstance(value, bool):
        return timedelta(seconds=value)
    return value


def format_duration(value: timedelta) -> str:
    """The shortest spelling that :func:`parse_duration` reads back."""
    seconds = value.total_seconds()
    for unit in ("w", "d", "h", "m"):
        if seconds and seconds % _UNITS[unit] == 0:
            return f"{int(seconds // _UNITS[unit])}{unit}"
    return f"{seconds:g}s"


Duration = Annotated[timedelta, BeforeValidator(parse_duration), PlainSerializer(format_duration, when_used="json")]
PatientDuration = Annotated[Duration, pydantic.Field(ge=timedelta(0), le=timedelta(days=400))]
PositiveDuration = Annotated[Duration, pydantic.Field(gt=timedelta(0), le=timedelta(days=3650))]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


FeedDuration = Annotated[Duration, pydantic.Field(ge=timedelta(minutes=10), le=timedelta(days=400))]
"""Feeds are judged every ten minutes."""


class FeedPace(_Section):
    """So many labels in every stretch of such a length, or the feed is silent."""

    every: FeedDuration
    at_least: Annotated[int, pydantic.Field(ge=1, le=10**9)] = 1


class FeedConfig(_Section):
    """What is expected of the feed that brings a label; see ``feed/breaker.py``."""

    expect: Literal["learnt", "none"] | FeedPace = "learnt"
    """``learnt`` from its history, a pace, or nothing."""
    quiet_after: FeedDuration | None = None
    """The feed is silent, too, when no label at all came for so long."""


class LabelConfig(_Section):
    """How one label's events become an outcome."""

    window: PositiveDuration = timedelta(days=30)
    """How long after its prediction a label is waited for."""
    default: Scalar | None = None
    """The value of a row whose window closed without a label; none: such a row stays pending."""
    combine: Combine = "last"
    late: Literal["accept", "reject"] = "accept"
    """Whether a label that was observed after the window still counts."""
    attribution: Literal["last", "first", "all", "shared"] = "last"
    """Which predictions of its entity get a label that names no request: ``join/attribution.py``."""
    attribution_window: PositiveDuration | None = None
    """How long before ``observed_at`` such a prediction was made at the earliest; none: as long as ``window``."""
    source_priority: list[str] = []
    """The most trusted source first; a statement of a lesser source counts only while no better one has spoken."""
    feed: FeedConfig = FeedConfig()
    """What is expected of the feed: while it is silent, a window that closes gives no default."""


class FeatureDriftConfig(_Section):
    """Drift settings of one feature."""

    method: str | None = None
    threshold: float | None = None
    max_age: PositiveDuration | None = None
    """Older than this, a value is stale: needs the time of each value, ``feature_times``."""


class DriftConfig(_Section):
    """What serving is compared with, and over which window."""

    baseline: Literal["reference", "previous", "last_week"] = "reference"
    window: PositiveDuration = timedelta(days=1)
    min_rows: Annotated[int, pydantic.Field(ge=1)] = 100
    false_discovery_rate: Annotated[float, pydantic.Field(gt=0, le=1)] = 0.01
    features: dict[str, FeatureDriftConfig] = {}
    multivariate: list[Literal["domain_classifier", "pca_reconstruction"]] = []
    """How every closed window is judged as a whole, too; it costs seconds of a window's rows."""
    multivariate_without: list[str] = []
    """Features that are not looked at then, such as a number that only ever grows."""


class PerformanceConfig(_Section):
    """Which metrics, and the score from which a binary prediction counts as positive."""

    metrics: list[str] = []
    threshold: float = 0.5


class AlertConfig(_Section):
    """One alert rule; see ``upshot_monitoring/alerts``, which also understands ``when`` and ``until``."""

    model_config = ConfigDict(serialize_by_alias=True, validate_by_name=True)

    when: str
    to: list[str] = []
    """Channels of the server's settings; none: the rule is only shown."""
    name: Annotated[str, pydantic.Field(min_length=1, max_length=200)] | None = None
    """What the rule is called; its text, where it has no name."""
    severity: Literal["info", "warning", "critical"] = "warning"
    for_: PatientDuration = pydantic.Field(default=timedelta(0), alias="for")
    """It fires once it held for so long."""
    keep_for: PatientDuration = timedelta(0)
    """It resolves once it did not hold for so long."""
    until: Annotated[str, pydantic.Field(min_length=1, max_length=1000)] | None = None
    """What it takes to resolve; none: that ``when`` does not hold any more."""
    min_rows: Annotated[int, pydantic.Field(ge=0, le=10**12)] | None = None
    """Below so many rows a value is not known; none: the default of the alerts."""
    repeat: PatientDuration | None = None
    """Tell again after so long, while it fires; none: as the server's settings say, 0: never."""
    unknown_after: PatientDuration = timedelta(0)
    """Tell when nothing could be said for so long; 0: never."""


class ExportConfig(_Section):
    """What leaves in exports: kept and shown; redaction is not applied yet."""

    redact: list[str] = []
    hash: list[str] = []


class ModelConfig(_Section):
    """Everything that can be configured of a model; all of it has defaults."""

    task: Literal["binary", "multiclass", "regression", "ranking"] = "binary"
    positive: Scalar = 1
    labels: dict[str, LabelConfig] = {}
    primary_label: str | None = None
    segments: list[str] = []
    drift: DriftConfig = DriftConfig()
    performance: PerformanceConfig = PerformanceConfig()
    alerts: list[AlertConfig] = []
    export: ExportConfig = ExportConfig()

    def label(self, name: str) -> LabelConfig:
        """The rules of a label; defaults where it was never configured."""
        return self.labels.get(name) or LabelConfig()

    def fold_rules(self) -> dict[str, LabelConfig]:
        """What outcomes depend on: the rules of the labels, without what is expected of their feeds."""
        return {name: rules.model_copy(update={"feed": FeedConfig()}) for name, rules in self.labels.items()}

    def primary(self, seen: list[str]) -> str:
        """The label that performance is about: the configured one, else the first configured, else the first seen."""
        return self.primary_label or next(iter(self.labels), None) or (seen[0] if seen else "label")


def read_config(raw: Any) -> ModelConfig:
    """Check a configuration; raises a 422 :class:`Problem` that names every wrong place."""
    if not isinstance(raw, dict):
        raise Problem(422, "invalid_config", "A configuration is an object.", [{"loc": "$", "code": "wrong_type"}])
    try:
        config = ModelConfig.model_validate(raw)
    except pydantic.ValidationError as error:
        places: list[Place] = [
            {"loc": ".".join(str(part) for part in found["loc"]), "code": found["type"]}
            for found in error.errors(include_input=False, include_url=False)
        ]
        raise Problem(422, "invalid_config", "The configuration has errors.", places) from None
    reserved = [f"labels.{RESERVED_LABEL}"] * (RESERVED_LABEL in config.labels)
    reserved += ["primary_label"] * (config.primary_label == RESERVED_LABEL)
    if reserved:
        places = [{"loc": loc, "code": "reserved_name"} for loc in reserved]
        raise Problem(
            422, "invalid_config", f"`{RESERVED_LABEL}` is no label: it says that a prediction was shown.", places
        )
    return config


@dataclass(frozen=True)
class ConfigFile:
    """What a configuration file holds."""

    models: dict[str, ModelConfig]
    hooks: dict[str, Any]
    """Sources of webhooks, not checked yet (see ``intake/webhooks/source.py``)."""
    alerting: Any = None
    """How alerts leave the server, not checked yet (see ``upshot_monitoring/alerts/settings.py``)."""


def read_config_file(path: Path) -> ConfigFile:
    """The ``models:``, ``hooks:`` and ``alerting:`` sections of a YAML file; it needs one of them."""
    try:
        raw = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise Problem(422, "invalid_config", f"The configuration file cannot be read: {path.name}.") from error
    sections = (
        {name: raw[name] for name in ("models", "hooks", "alerting") if name in raw} if isinstance(raw, dict) else {}
    )
    if not sections or not all(isinstance(section, dict) for section in sections.values()):
        raise Problem(
            422, "invalid_config", "The configuration file needs a section: `models:`, `hooks:` or `alerting:`."
        )
    return ConfigFile(
        {str(name): read_config(config) for name, config in sections.get("models", {}).items()},
        {str(name): config for name, config in sections.get("hooks", {}).items()},
        sections.get("alerting"),
    )


class ConfigStore:
    """The configurations, with their history: an export as of T uses the one that was in force at T."""

    def __init__(self, store: Store, stamper: Stamper) -> None:
        self._store = store
        self._stamper = stamper
        self._lock = threading.Lock()
        self._current: dict[str, ModelConfig] = {}
        self._changed_at: dict[str, datetime] = {}
        self._read: tuple[Any, ...] = ()
        self.refresh()

    def refresh(self) -> None:
        """Learn what another process has put in force; costs next to nothing when nothing was."""
        [newest] = self._store.query("SELECT count(), max(received_at) FROM model_configs")
        if newest == self._read:
            return
        found = self._store.query(
            "SELECT model, argMax(config, received_at), max(received_at) FROM model_configs GROUP BY model"
        )
        with self._lock:
            for model, config, changed_at in found:
                self._current[model] = ModelConfig.model_validate_json(config, strict=False)
                self._changed_at[model] = changed_at
            self._read = newest

    def changed_at(self, model: str) -> datetime:
        """When the configuration in force was stored; 1970 for a model that was never configured."""
        return self._changed_at.get(model, EPOCH)

    def get(self, model: str) -> ModelConfig:
        """The configuration in force; defaults for a model that was never configured."""
        return self._current.get(model) or ModelConfig()

    def as_of(self, model: str, moment: datetime) -> ModelConfig:
        """The configuration that was in force at a moment."""
        found = self._store.query(
            "SELECT config FROM model_configs WHERE model = {model:String} "
            "AND received_at <= fromUnixTimestamp64Micro({at:Int64}, 'UTC') ORDER BY received_at DESC LIMIT 1",
            {"model": model, "at": to_micros(moment)},
        )
        return ModelConfig.model_validate_json(found[0][0], strict=False) if found else ModelConfig()

    def models(self) -> list[str]:
        """Models that were ever configured."""
        return sorted(self._current)

    def put(self, model: str, config: ModelConfig) -> bool:
        """Store a configuration; returns whether it differs from the one in force."""
        with self._lock:
            if self._current.get(model) == config:
                return False
            stamp = self._stamper.next()
            self._store.insert(
                "model_configs",
                pa.table(
                    {
                        "model": [model],
                        "config": [config.model_dump_json()],
                        "received_at": pa.array([stamp], pa.timestamp("us", "UTC")),
                    }
                ),
            )
            self._current[model] = config
            self._changed_at[model] = stamp
            return True
