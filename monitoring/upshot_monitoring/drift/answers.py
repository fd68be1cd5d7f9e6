"""``GET /v1/models/{model}/drift``, ``/skew``, ``/features/{name}``, ``/freshness`` and ``/attributions``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from upshot_joiner.clock import EPOCH, Clock
from upshot_joiner.config import ConfigStore, ModelConfig
from upshot_joiner.errors import Problem
from upshot_joiner.store.client import Store
from upshot_monitoring.drift import attributions, freshness
from upshot_monitoring.drift.baselines import DAY, WEEK, Asked, Base, Baselines
from upshot_monitoring.drift.describe import figures_of, moments, said
from upshot_monitoring.drift.histogram import histogram
from upshot_monitoring.drift.vectors import vector_figures
from upshot_monitoring.drift.verdict import NEW_SCALE, Judgement, compare, judge_norm, settle
from upshot_monitoring.profiles import rolled
from upshot_monitoring.profiles.maps import PAIRS
from upshot_monitoring.profiles.profile import Profile
from upshot_monitoring.profiles.read import Window, read_slots
from upshot_monitoring.profiles.scales import Key, Scales

MAX_DAYS = 400

_KNOWN = "SELECT DISTINCT role FROM profiles WHERE model = {model:String} AND feature = {feature:String}"


@dataclass(frozen=True)
class _Look:
    """All columns of a window, compared and judged together."""

    window: Window
    base: Base
    profiles: Mapping[Key, Profile]
    judged: list[tuple[Key, Judgement]]
    config: ModelConfig

    def say(self, key: Key, judgement: Judgement) -> dict[str, Any]:
        """One row of an answer."""
        about = {
            "role": key[0],
            "kind": judgement.kind,
            "baseline": self.base.kind_of(key),
            "baseline_id": self.base.id_of(key),
        }
        figures = said(judgement, self.base.of(key), self.profiles.get(key))
        if key == attributions.RANKING:
            rows = attributions.rows_of(self.base.of, self.profiles)
            figures |= {"rows_reference": rows[0], "rows_current": rows[1]}
        return about | figures

    def of_role(self, role: str) -> dict[str, dict[str, Any]]:
        """The rows of a role, by name."""
        return {key[1]: self.say(key, judgement) for key, judgement in self.judged if key[0] == role}


class Drift:
    """Answers from the hourly profiles. Every question raises a 422 :class:`Problem` for a range that makes no sense."""

    def __init__(self, store: Store, scales: Scales, baselines: Baselines, configs: ConfigStore, clock: Clock) -> None:
        self._store = store
        self._scales = scales
        self._baselines = baselines
        self._configs = configs
        self._clock = clock

    def drift(self, model: str, asked: Asked) -> dict[str, Any]:
        """Serving now against the configured (or asked) baseline."""
        return self._answer(self._look(model, asked))

    def skew(self, model: str, asked: Asked) -> dict[str, Any]:
        """Serving now against training; columns that only one side has are findings."""
        return self._answer(self._look(model, asked, training=True))

    def freshness(self, model: str, asked: Asked) -> dict[str, Any]:
        """How old the values of each feature were when they were served."""
        look = self._look(model, asked, role="freshness")
        limits = {name: one.max_age for name, one in look.config.drift.features.items()}
        rows = [
            {"feature": name}
            | freshness.describe(
                look.base.of(("freshness", name)), look.profiles.get(("freshness", name)), limits.get(name)
            )
            | {field: row[field] for field in _JUDGED}
            for name, row in look.of_role("freshness").items()
        ]
        return self._compared_with(look, ("freshness", "")) | {"features": rows}

    def attributions(self, model: str, asked: Asked) -> dict[str, Any]:
        """What each feature contributed to the predictions, and whether their ranking is what it was."""
        look = self._look(model, asked, role="attribution")
        ranking = look.of_role("ranking").get(attributions.RANKING[1])
        judged = look.of_role("attribution")
        rows = [
            one | {field: judged[one["feature"]][field] for field in _JUDGED}
            for one in attributions.table(look.base.of, look.profiles)
            if one["feature"] in judged
        ]
        return self._compared_with(look, ("attribution", "")) | {"ranking": ranking, "features": rows}

    def feature(self, model: str, name: str, asked: Asked, role: str | None = None) -> dict[str, Any]:
        """One column: its statistic per day, basic figures, and the distribution now and in the baseline.

        Raises a 404 :class:`Problem` for a column that is not known.
        """
        config = self._configs.get(model)
        # The range is that of the trend; the distribution "now" is that of the drift window at its end.
        now = self._baselines.window(model, replace(asked, start=None))
        profiles = self._baselines.profiles(now)
        base = self._baselines.base(now, asked.baseline, profiles)
        known = {**base.profiles, **base.before, **profiles}
        key = self._find(model, name, role, known)
        current, reference = profiles.get(key), base.of(key)
        judgement = self._compare(key, reference, current, config, now)
        if current is None:
            self._withhold_what_may_come(now, {key: judgement})
        settle([judgement], config.drift.false_discovery_rate, len(known))
        start = _day(asked.start) if asked.start else _day(now.end - 90 * DAY)
        trend = Window(model, max(start, EPOCH, _day(now.end - MAX_DAYS * DAY)), now.end, asked.version)
        return {
            "feature": name,
            "role": key[0],
            "kind": judgement.kind,
            "baseline": base.kind_of(key),
            "baseline_detail": base.before_detail if key[0] in base.roles_before else base.detail,
            "window": {"start": now.start, "end": now.end},
            **said(judgement, reference, current),
            "reference": figures_of(reference),
            "current": figures_of(current),
            "windows": self._trend(trend, key, base, config, len(known)),
            "histogram": histogram(reference, current),
            **(
                self._of_vectors(judgement, reference, current, config, len(known))
                if judgement.kind == "vector"
                else {}
            ),
        }

    def _of_vectors(
        self, judgement: Judgement, reference: Profile | None, current: Profile | None, config: ModelConfig, family: int
    ) -> dict[str, Any]:
        """What else is known of vectors: by dimension, and of their norm, which is judged as one column among all would be."""
        norm = judge_norm(reference, current, min_rows=config.drift.min_rows)
        settle([norm], config.drift.false_discovery_rate, family)
        if not judgement.is_tested:
            norm.withhold(judgement.reason or "")
        return {"vector": vector_figures(reference, current), "norm": said(norm, reference, current)}

    def _trend(self, trend: Window, key: Key, base: Base, config: ModelConfig, family: int) -> list[dict[str, Any]]:
        kind = base.kind_of(key)
        back = {"reference": timedelta(0), "previous": DAY, "last_week": WEEK}[kind]
        slots = read_slots(self._store, self._scales, replace(trend, start=trend.start - back), key, 86_400)
        days = []
        for day, profile in slots.items():
            if day < trend.start:
                continue
            reference = base.of(key) if kind == "reference" else slots.get(day - back)
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

    def _look(self, model: str, asked: Asked, *, training: bool = False, role: str | None = None) -> _Look:
        """``role``: what is asked about; where nothing of it was served, nothing is judged."""
        config = self._configs.get(model)
        window = self._baselines.window(model, asked)
        profiles = self._baselines.profiles(window)
        base = self._baselines.training(window) if training else self._baselines.base(window, asked.baseline, profiles)
        if role is not None and all(key[0] != role for key in profiles):
            return _Look(window, base, profiles, [], config)
        compared: list[tuple[Key, Judgement]] = []
        for key in {**base.profiles, **base.before, **profiles}:
            reference, current = base.of(key), profiles.get(key)
            is_lone = (reference is not None or not base.profiles) != (current is not None)
            if key[0] != "feature" and is_lone and not (key[0] == "freshness" and current is not None and not training):
                # A training set need not have predictions, nor a window labels: that is no finding. An age may be one by itself.
                continue
            judgement = self._compare(key, reference, current, config, window)
            if not base.profiles and key[0] not in base.roles_before and not judgement.findings:
                judgement.withhold(base.note or "the baseline window has no rows")
            compared.append((key, judgement))
        ranking = attributions.ranking(base.of, profiles, config.drift.min_rows)
        if ranking is not None:
            compared.append((attributions.RANKING, ranking))
        self._withhold_what_may_come(window, {key: one for key, one in compared if key not in profiles})
        settle([judgement for _, judgement in compared], config.drift.false_discovery_rate)
        return _Look(window, base, profiles, compared, config)

    def _answer(self, look: _Look) -> dict[str, Any]:
        names = {key[1] for key, _ in look.judged if key[0] == "feature"}
        rows: list[tuple[Judgement, dict[str, Any]]] = []
        for key, judgement in look.judged:
            shown = key[1] if key[0] == "feature" or key[1] not in names else f"{key[1]} ({key[0]})"
            rows.append((judgement, {"feature": shown, **look.say(key, judgement)}))
        rows.sort(key=lambda pair: (*pair[0].severity, pair[1]["feature"]))
        decided = [
            judgement for judgement, row in rows if row["role"] == "feature" and judgement.verdict != "no_verdict"
        ]
        drifted = sum(judgement.verdict == "drift" for judgement in decided)
        return {
            "baseline": look.base.kind,
            "baseline_detail": look.base.detail,
            "window": {"start": look.window.start, "end": look.window.end},
            "version": look.window.version,
            "features": [row for _, row in rows],
            "drifted": drifted,
            "judged": len(decided),
            "drifted_share": drifted / len(decided) if decided else None,
            "note": look.base.note,
            "false_discovery": {
                "procedure": "benjamini_yekutieli",
                "rate": look.config.drift.false_discovery_rate,
                "tested": sum(judgement.is_tested for _, judgement in look.judged),
            },
        }

    @staticmethod
    def _compared_with(look: _Look, key: Key) -> dict[str, Any]:
        base = look.base
        return {
            "window": {"start": look.window.start, "end": look.window.end},
            "version": look.window.version,
            "baseline": base.kind_of(key),
            "baseline_detail": base.before_detail if key[0] in base.roles_before else base.detail,
            "note": base.note,
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
            late = self._baselines.profiles(window)
        for key, judgement in absent.items():
            if why or key in late:
                judgement.withhold(why or NEW_SCALE)

    def _find(self, model: str, name: str, role: str | None, known: Mapping[Key, Profile]) -> Key:
        """The column of this name: a feature, else a score, prediction or label of that name, now or at any earlier time."""
        earlier = [(one, name) for (one,) in self._store.query(_KNOWN, {"model": model, "feature": name})]
        of_name = [key for key in {**known, **dict.fromkeys(earlier)} if name in (key[1], f"{key[1]} ({key[0]})")]
        for key in sorted(of_name, key=lambda key: (key[1] != name, key[0] != "feature", key[0] in PAIRS)):
            if role in (None, key[0]):
                return key
        raise Problem(404, "unknown_feature", "No feature of this name was served, and none is in the reference.")

    def _compare(
        self, key: Key, reference: Profile | None, current: Profile | None, config: ModelConfig, window: Window
    ) -> Judgement:
        role, name = key
        configured = config.drift.features.get(name)
        if role == "freshness":
            max_age = configured.max_age if configured is not None else None
            return freshness.compare_ages(reference, current, max_age, config.drift.min_rows)
        if role in ("label", "attribution"):
            configured = None
        judgement = compare(reference, current, configured, min_rows=config.drift.min_rows)
        if role == "label" and window.end + config.label(name).window > self._clock.now():
            judgement.withhold("the labels of this window are still coming in")
        return judgement


_JUDGED = (
    *("method", "statistic", "threshold", "p_value", "adjusted_p_value"),
    *("verdict", "reason", "rows_reference", "rows_current"),
)
"""What the answers about freshness and attributions repeat of a verdict."""


def _day(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
