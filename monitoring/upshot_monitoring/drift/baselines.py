"""Which hours a question is about, and what they are compared with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from upshot_joiner.clock import EPOCH, Clock
from upshot_joiner.config import ConfigStore
from upshot_joiner.errors import Problem
from upshot_joiner.store.client import Store
from upshot_monitoring.profiles import rolled
from upshot_monitoring.profiles.maps import PAIRS
from upshot_monitoring.profiles.profile import Profile
from upshot_monitoring.profiles.read import Window, read_window
from upshot_monitoring.profiles.references import Reference, References
from upshot_monitoring.profiles.scales import Key, Scales

Baseline = Literal["reference", "previous", "last_week"]

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
WEEK = timedelta(days=7)
NO_REFERENCE = "no reference was uploaded for this model"


@dataclass(frozen=True)
class Asked:
    """A question about drift, as it came."""

    start: datetime | None = None
    end: datetime | None = None
    window: timedelta | None = None
    version: str | None = None
    baseline: Baseline | None = None


@dataclass(frozen=True)
class Base:
    """What a window is compared with."""

    kind: Baseline
    profiles: Mapping[Key, Profile]
    detail: Mapping[str, Any] = field(default_factory=dict)
    note: str | None = None
    roles_before: frozenset[str] = frozenset()
    """Roles that the training set does not have, such as the ages of values: they are compared with the window before."""
    before: Mapping[Key, Profile] = field(default_factory=dict)
    """The profiles of that window, of these roles."""
    before_detail: Mapping[str, Any] = field(default_factory=dict)

    def of(self, key: Key) -> Profile | None:
        """The profile that a column is compared with."""
        return (self.before if key[0] in self.roles_before else self.profiles).get(key)

    def kind_of(self, key: Key) -> Baseline:
        """What a column is compared with."""
        return "previous" if key[0] in self.roles_before else self.kind

    def id_of(self, key: Key) -> str:
        """The ID of the reference, or the first hour of the earlier window; empty where there is neither."""
        return id_in(self.before_detail if key[0] in self.roles_before else self.detail)


class Baselines:
    """Reads both sides of a comparison, as profiles."""

    def __init__(
        self, store: Store, scales: Scales, references: References, configs: ConfigStore, clock: Clock
    ) -> None:
        self._store = store
        self._scales = scales
        self._references = references
        self._configs = configs
        self._clock = clock

    def window(self, model: str, asked: Asked) -> Window:
        """The asked range in whole hours; by default, the configured window that ends with the last served hour.

        Raises a 422 :class:`Problem` for a range that makes no sense.
        """
        served = rolled.served_hours(self._store, model, self._clock.now(), asked.version)
        last = served[1] if served else hour_of(self._clock.now())
        end = hour_of(asked.end - timedelta(microseconds=1)) + HOUR if asked.end else last + HOUR
        length = asked.window or self._configs.get(model).drift.window
        start = hour_of(asked.start) if asked.start else hour_of(end - max(length, HOUR))
        if start >= end:
            raise Problem(
                422, "invalid_range", "The start is not before the end.", [{"loc": "start", "code": "invalid"}]
            )
        return Window(model, max(start, EPOCH), end, asked.version)

    def profiles(self, window: Window) -> dict[Key, Profile]:
        """The profile of every column in a window, the prediction only where it says more than the score."""
        return _without_twins(read_window(self._store, self._scales, window))

    def chosen(self, window: Window, wanted: Baseline | None) -> tuple[Baseline, Reference | Window | None]:
        """What a window is compared with: a reference, or an earlier window; None where there is none."""
        kind = wanted or self._configs.get(window.model).drift.baseline
        if kind == "reference":
            return kind, self._references.for_version(window.model, self._version(window))
        return kind, earlier(window, kind)

    def chosen_or_earlier(
        self, window: Window, wanted: Baseline | None
    ) -> tuple[Baseline, Reference | Window | None, str | None]:
        """The same, and where there is no reference and nobody asked for one, the window before; with a note on either."""
        kind, found = self.chosen(window, wanted)
        if found is not None:
            return kind, found, None
        if wanted is not None:
            return kind, None, NO_REFERENCE
        return "previous", earlier(window, "previous"), f"{NO_REFERENCE}; compared with the window before"

    def base(self, window: Window, wanted: Baseline | None, current: Mapping[Key, Profile]) -> Base:
        """The profiles that the ``current`` ones of a window are compared with."""
        kind, found, note = self.chosen_or_earlier(window, wanted)
        if found is None:
            return Base(kind, {}, note=note)
        if isinstance(found, Reference):
            return self._of_reference(window, found, current)
        return Base(kind, self.profiles(found), detail_of(found), note)

    def training(self, window: Window) -> Base:
        """The profiles of the training data of a window's version, and nothing else."""
        reference = self._references.for_version(window.model, self._version(window))
        if reference is None:
            return Base("reference", {}, note=NO_REFERENCE)
        return self._of_reference(window, reference, {})

    def _of_reference(self, window: Window, reference: Reference, current: Mapping[Key, Profile]) -> Base:
        profiles = _without_twins(self._references.profiles(window.model, reference))
        detail = detail_of(reference)
        lacking = frozenset(role for role, _ in current if role in PAIRS) - {role for role, _ in profiles}
        if not lacking:
            return Base("reference", profiles, detail)
        then = earlier(window, "previous")
        return Base(
            "reference",
            profiles,
            detail,
            roles_before=lacking,
            before={key: one for key, one in self.profiles(then).items() if key[0] in lacking},
            before_detail=detail_of(then),
        )

    def _version(self, window: Window) -> str | None:
        """The version whose reference counts: the asked one, or the only one that served in the window."""
        if window.version is not None:
            return window.version
        versions = rolled.versions(self._store, window.model, window.start, window.end)
        return versions[0] if len(versions) == 1 else None


def earlier(window: Window, kind: Literal["previous", "last_week"]) -> Window:
    """The window before, or the same one a week before."""
    back = WEEK if kind == "last_week" else window.end - window.start
    return replace(window, start=max(EPOCH, window.start - back), end=max(EPOCH, window.end - back))


def detail_of(found: Reference | Window) -> dict[str, Any]:
    """What a window is compared with, as answers say it."""
    if isinstance(found, Window):
        return {"start": found.start, "end": found.end}
    return {"reference": found.id, "model_version": found.model_version, "created_at": found.created_at}


def id_in(detail: Mapping[str, Any]) -> str:
    """The ID of the reference, or the first hour of the earlier window; empty where there is neither."""
    return str(detail.get("reference") or (f"{detail['start']:%Y-%m-%dT%H:%MZ}" if "start" in detail else ""))


def hour_of(moment: datetime) -> datetime:
    """The hour that holds a moment."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _without_twins(profiles: dict[Key, Profile]) -> dict[Key, Profile]:
    score, prediction = profiles.get(("score", "score")), profiles.get(("prediction", "prediction"))
    if score is not None and prediction is not None and prediction.kind == "numeric":
        del profiles["prediction", "prediction"]
    return profiles
