"""``GET /v1/models/{model}/drift``, ``/skew`` and ``/features/{name}``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from upshot_joiner.clock import EPOCH, Clock
from upshot_joiner.config import ConfigStore, ModelConfig
from upshot_joiner.errors import Problem
from upshot_joiner.store.client import Store
from upshot_monitoring.drift.describe import figures_of, moments, said
from upshot_monitoring.drift.histogram import histogram
from upshot_monitoring.drift.verdict import NEW_SCALE, Judgement, compare, settle
from upshot_monitoring.profiles import rolled
from upshot_monitoring.profiles.profile import Profile
from upshot_monitoring.profiles.read import Window, read_slots, read_window
from upshot_monitoring.profiles.references import Reference, References
from upshot_monitoring.profiles.scales import Key, Scales

Baseline = Literal["reference", "previous", "last_week"]

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
WEEK = timedelta(days=7)
MAX_DAYS = 400

_KNOWN = "SELECT DISTINCT role FROM profiles WHERE model = {model:String} AND feature = {feature:String}"


@dataclass(frozen=True)
class Asked:
    """A question about drift, as it came."""

    start: datetime | None = None
    end: datetime | None = None
    window: timedelta | None = None
    version: str | None = None
    baseline: Baseline | None = None


@dataclass(frozen=True)
class _Base:
    """What a window is compared with."""

    kind: Baseline
    profiles: dict[Key, Profile]
    detail: dict[str, Any]
    note: str | None = None


class Drift:
    """Answers from the hourly profiles."""

    def __init__(
        self, store: Store, scales: Scales, references: References, configs: ConfigStore, clock: Clock
    ) -> None:
        self._store = store
        self._scales = scales
        self._references = references
        self._configs = configs
        self._clock = clock

    def drift(self, model: str, asked: Asked) -> dict[str, Any]:
        """Serving now against the configured (or asked) baseline. Raises :class:`Problem` for a range that makes no sense."""
        config = self._configs.get(model)
        window = self.window(model, asked)
        return self._answer(window, self._base(window, asked.baseline, config), config)

    def skew(self, model: str, asked: Asked) -> dict[str, Any]:
        """Serving now against training; columns that only one side has are findings."""
        config = self._configs.get(model)
        window = self.window(model, asked)
        reference = self._references.for_version(model, self._version(window))
        if reference is None:
            return self._answer(window, _Base("reference", {}, {}, "no reference was uploaded for this model"), config)
        return self._answer(window, self._of_reference(model, reference), config)

    def window(self, model: str, asked: Asked) -> Window:
        """The asked range in whole hours; by default, the configured window that ends with the last served hour."""
        served = rolled.served_hours(self._store, model, self._clock.now(), asked.version)
        last = served[1] if served else _hour(self._clock.now())
        end = _hour(asked.end - timedelta(microseconds=1)) + HOUR if asked.end else last + HOUR
        length = asked.window or self._configs.get(model).drift.window
        start = _hour(asked.start) if asked.start else _hour(end - max(length, HOUR))
        if start >= end:
            raise Problem(
                422, "invalid_range", "The start is not before the end.", [{"loc": "start", "code": "invalid"}]
            )
        return Window(model, max(start, EPOCH), end, asked.version)

    def profiles(self, window: Window) -> dict[Key, Profile]:
        """The profile of every column in a window, the prediction only where it says more than the score."""
        profiles = read_window(self._store, self._scales, window)
        score, prediction = profiles.get(("score", "score")), profiles.get(("prediction", "prediction"))
        if score is not None and prediction is not None and prediction.kind == "numeric":
            del profiles["prediction", "prediction"]
        return profiles

    def baseline(self, window: Window, wanted: Baseline | None) -> tuple[Baseline, Reference | Window | None]:
        """What a window is compared with: a reference, or an earlier window; None where there is none."""
        kind = wanted or self._configs.get(window.model).drift.baseline
        if kind == "reference":
            return kind, self._references.for_version(window.model, self._version(window))
        back = WEEK if kind == "last_week" else window.end - window.start
        return kind, replace(window, start=max(EPOCH, window.start - back), end=max(EPOCH, window.end - back))

    def feature(self, model: str, name: str, asked: Asked, role: str | None = None) -> dict[str, Any]:
        """One column: its statistic per day, basic figures, and the distribution now and in the baseline.

        Raises a 404 :class:`Problem` for a column that is not known.
        """
        config = self._configs.get(model)
        # The range is that of the trend; the distribution "now" is that of the drift window at its end.
        now = self.window(model, replace(asked, start=None))
        base = self._base(now, asked.baseline, config)
        profiles = self.profiles(now)
        key = self._find(model, name, role, {**base.profiles, **profiles})
        current, reference = profiles.get(key), base.profiles.get(key)
        judgement = self._compare(key, reference, current, config, now)
        if current is None:
            self._withhold_what_may_come(now, {key: judgement})
        family = len({**base.profiles, **profiles})
        settle([judgement], config.drift.false_discovery_rate, family)
        start = _day(asked.start) if asked.start else _day(now.end - 90 * DAY)
        trend = Window(model, max(start, EPOCH, _day(now.end - MAX_DAYS * DAY)), now.end, asked.version)
        return {
            "feature": name,
            "role": key[0],
            "kind": judgement.kind,
            "baseline": base.kind,
            "baseline_detail": base.detail,
            "window": {"start": now.start, "end": now.end},
            **said(judgement, reference, current),
            "reference": figures_of(reference),
            "current": figures_of(current),
            "windows": self._trend(trend, key, base, config, family),
            "histogram": histogram(reference, current),
        }

    def _trend(self, trend: Window, key: Key, base: _Base, config: ModelConfig, family: int) -> list[dict[str, Any]]:
        back = {"reference": timedelta(0), "previous": DAY, "last_week": WEEK}[base.kind]
        slots = read_slots(self._store, self._scales, replace(trend, start=trend.start - back), key, 86_400)
        days = []
        for day, profile in slots.items():
            if day < trend.start:
                continue
            reference = base.profiles.get(key) if base.kind == "reference" else slots.get(day - back)
            judgement = self._compare(key, reference, profile, config, replace(trend, start=day, end=day + DAY))
            # One of the columns of its day: as if none of the others were a finding, which is the strictest that can be.
            settle([judgement], config.drift.false_discovery_rate, family)
            days.append(
                {
                    "start": day,
                    "end": day + DAY,
                    "rows": profile.rows,
                    "nulls": profile.nulls + profile.nans,
                    "absent": profile.absents,
                    **moments(profile),
                    "statistic": judgement.statistic,
                    "p_value": judgement.p_value,
                    "verdict": judgement.verdict,
                    "reason": judgement.reason,
                }
            )
        return days

    def _base(self, window: Window, wanted: Baseline | None, config: ModelConfig) -> _Base:
        kind, found = self.baseline(window, wanted)
        if isinstance(found, Reference):
            return self._of_reference(window.model, found)
        if found is None:
            if wanted is not None:
                return _Base("reference", {}, {}, "no reference was uploaded for this model")
            kind, found = self.baseline(window, "previous")
            note = "no reference was uploaded for this model; compared with the window before"
        else:
            note = None
        assert isinstance(found, Window)  # noqa: S101  # for mypy: the other cases returned above
        return _Base(kind, self.profiles(found), {"start": found.start, "end": found.end}, note)

    def _of_reference(self, model: str, reference: Reference) -> _Base:
        profiles = self._references.profiles(model, reference)
        score, prediction = profiles.get(("score", "score")), profiles.get(("prediction", "prediction"))
        if score is not None and prediction is not None and prediction.kind == "numeric":
            del profiles["prediction", "prediction"]
        return _Base(
            "reference",
            profiles,
            {"reference": reference.id, "model_version": reference.model_version, "created_at": reference.created_at},
        )

    def _version(self, window: Window) -> str | None:
        """The version whose reference counts: the asked one, or the only one that served in the window."""
        if window.version is not None:
            return window.version
        versions = rolled.versions(self._store, window.model, window.start, window.end)
        return versions[0] if len(versions) == 1 else None

    def _answer(self, window: Window, base: _Base, config: ModelConfig) -> dict[str, Any]:
        profiles = self.profiles(window)
        compared: list[tuple[Key, Judgement]] = []
        for key in {**base.profiles, **profiles}:
            reference, current = base.profiles.get(key), profiles.get(key)
            if key[0] != "feature" and (reference is not None or not base.profiles) != (current is not None):
                # A training set need not have predictions, nor a window labels: that is no finding.
                continue
            judgement = self._compare(key, reference, current, config, window)
            if not base.profiles:
                judgement.withhold(base.note or "the baseline window has no rows")
            compared.append((key, judgement))
        self._withhold_what_may_come(window, {key: one for key, one in compared if key not in profiles})
        settle([judgement for _, judgement in compared], config.drift.false_discovery_rate)
        names = {key[1] for key, _ in compared if key[0] == "feature"}
        judged: list[tuple[Judgement, dict[str, Any]]] = []
        for key, judgement in compared:
            shown = key[1] if key[0] == "feature" or key[1] not in names else f"{key[1]} ({key[0]})"
            figures = said(judgement, base.profiles.get(key), profiles.get(key))
            judged.append((judgement, {"feature": shown, "role": key[0], "kind": judgement.kind, **figures}))
        judged.sort(key=lambda pair: (*pair[0].severity, pair[1]["feature"]))
        decided = [
            judgement for judgement, row in judged if row["role"] == "feature" and judgement.verdict != "no_verdict"
        ]
        drifted = sum(judgement.verdict == "drift" for judgement in decided)
        return {
            "baseline": base.kind,
            "baseline_detail": base.detail,
            "window": {"start": window.start, "end": window.end},
            "version": window.version,
            "features": [row for _, row in judged],
            "drifted": drifted,
            "judged": len(decided),
            "drifted_share": drifted / len(decided) if decided else None,
            "note": base.note,
            "false_discovery": {
                "procedure": "benjamini_yekutieli",
                "rate": config.drift.false_discovery_rate,
                "tested": sum(judgement.is_tested for _, judgement in compared),
            },
        }

    def _withhold_what_may_come(self, window: Window, absent: Mapping[Key, Judgement]) -> None:
        """Give no verdict on features without a profile in a window whose roll-up is not whole: they may have been served in it."""
        absent = {key: judgement for key, judgement in absent.items() if key[0] == "feature"}
        if not absent:
            return
        model, start, end = window.model, window.start, window.end
        why: str | None = None
        late: Mapping[Key, Profile] = {}
        if not rolled.is_rolled(self._store, model, start, end):
            why = "nothing of this window is rolled up yet"
        elif rolled.off_scale(self._store, model, self._scales.read(model), start, end):
            why = NEW_SCALE
        else:  # the roll-up may have ended since they were read
            late = self.profiles(window)
        for key, judgement in absent.items():
            if why or key in late:
                judgement.withhold(why or NEW_SCALE)

    def _find(self, model: str, name: str, role: str | None, known: Mapping[Key, Profile]) -> Key:
        """The column of this name: a feature, else a score, prediction or label of that name, now or at any earlier time."""
        earlier = [(one, name) for (one,) in self._store.query(_KNOWN, {"model": model, "feature": name})]
        of_name = [key for key in {**known, **dict.fromkeys(earlier)} if name in (key[1], f"{key[1]} ({key[0]})")]
        for key in sorted(of_name, key=lambda key: (key[1] != name, key[0] != "feature")):
            if role in (None, key[0]):
                return key
        raise Problem(404, "unknown_feature", "No feature of this name was served, and none is in the reference.")

    def _compare(
        self, key: Key, reference: Profile | None, current: Profile | None, config: ModelConfig, window: Window
    ) -> Judgement:
        configured = config.drift.features.get(key[1]) if key[0] != "label" else None
        judgement = compare(reference, current, configured, min_rows=config.drift.min_rows)
        if key[0] == "label" and window.end + config.label(key[1]).window > self._clock.now():
            judgement.withhold("the labels of this window are still coming in")
        return judgement


def _hour(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _day(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
