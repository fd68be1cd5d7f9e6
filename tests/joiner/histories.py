"""Generated histories of predictions and labels, and what must become of them by ``rule.py``: the oracle of the property tests.

A world is a few models with rules of their own and many requests, each with a history. Everything comes from a seed.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Literal, NamedTuple

from upshot.wire import LabelEvent, Scalar
from upshot_joiner.config import LabelConfig, ModelConfig
from upshot_joiner.intake.check import check_label
from upshot_joiner.join.rule import Event, Outcome, at, fold

MICROSECOND = timedelta(microseconds=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MIDNIGHT = datetime(2026, 1, 1, tzinfo=UTC)
START = MIDNIGHT + 2 * HOUR
"""The clock when the first event of a world is received."""

COMBINES = ("first", "last", "sum", "mean", "min", "max", "majority", "count")
WINDOWS = (HOUR, 2 * HOUR, DAY, 30 * DAY, 90 * DAY)
SOURCES = ("", "analyst", "feed", "somebody")
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_ZONES = (UTC, timezone(timedelta(hours=5, minutes=30)), timezone(-timedelta(hours=8)))


class Delivery(NamedTuple):
    """One event on its way; the same event may be on its way several times."""

    kind: Literal["prediction", "label"]
    event: dict[str, Any]
    """As the intake takes it, but moments are datetimes."""

    def sent(self, rng: random.Random) -> dict[str, Any]:
        """The event as it is sent: a moment may be written in any zone."""
        return {
            name: value.astimezone(rng.choice(_ZONES)).isoformat() if isinstance(value, datetime) else value
            for name, value in self.event.items()
        }


@dataclass
class World:
    """Rules, and what is delivered in which order."""

    configs: dict[str, ModelConfig]
    batches: list[list[Delivery]]
    n_histories: int

    def of_request(self, request_id: str) -> list[list[Delivery]]:
        """The batches with one request's events alone."""
        mine = [[one for one in batch if one.event["request_id"] == request_id] for batch in self.batches]
        return [batch for batch in mine if batch]


def make_world(seed: str, n_histories: int, n_models: int = 5) -> World:
    """The world of a seed; its models and requests are called by the seed."""
    rng = random.Random(seed)
    configs = {f"{seed}-m{n}": _config(rng) for n in range(n_models)}
    deliveries: list[Delivery] = []
    before = 0
    for number in range(n_histories):
        key = before if rng.random() < 0.03 else rng.getrandbits(128)
        request_id = _request_id(rng, key, f"{seed}-r{number}", is_again=key == before)
        before = key
        for delivery in _history(rng, request_id, configs):
            deliveries += [delivery] * rng.choice((1, 1, 2, 3))
    rng.shuffle(deliveries)
    batches = []
    while deliveries:
        size = rng.choice((1, 2, 7, 50, 200, 200, 500, n_histories))
        batches.append(deliveries[:size])
        del deliveries[:size]
    return World(configs, batches, n_histories)


def _config(rng: random.Random) -> ModelConfig:
    return ModelConfig(
        labels={
            name: LabelConfig(
                window=rng.choice(WINDOWS),
                default=rng.choice((None, None, 0, "none", False)),
                combine=rng.choice(COMBINES),
                late=rng.choice(("accept", "reject")),
                source_priority=rng.choice(([], [], ["analyst"], ["analyst", "feed"], ["feed", "analyst"])),
            )
            for name in ("a", "b", "c")
        }
    )


def _request_id(rng: random.Random, key: int, name: str, *, is_again: bool) -> str:
    """A UUID, a ULID (both are their number, so two IDs may share a key), or any text (its key is a hash)."""
    kind = "ulid" if is_again else rng.choice(("uuid", "uuid", "ulid", "text"))
    if kind == "uuid":
        return str(uuid.UUID(int=key))
    if kind == "ulid":
        return "".join(_CROCKFORD[key >> shift & 31] for shift in range(125, -1, -5))
    return name


def _history(rng: random.Random, request_id: str, configs: dict[str, ModelConfig]) -> Iterator[Delivery]:
    models = list(configs)
    identities = {
        (
            rng.choice(models[:2] if rng.random() < 0.5 else models),
            rng.choice(("", "1", "2")),
            rng.choice(("", "", "x", "y")),
        )
        for _ in range(rng.choice((1, 1, 1, 1, 2, 3, 4)))
    }
    around = MIDNIGHT + rng.choice(
        (timedelta(0), timedelta(0), HOUR, -DAY, -30 * DAY, -89 * DAY, -91 * DAY, -400 * DAY)
    )
    predicted = {
        identity: around + rng.choice((timedelta(0), -MICROSECOND, MICROSECOND, -HOUR / 2, HOUR - MICROSECOND))
        for identity in sorted(identities)
    }
    if rng.random() >= 0.07:  # else its predictions never come
        for (model, version, item), moment in predicted.items():
            event = {
                "request_id": request_id,
                "model": model,
                "model_version": version,
                "item_id": item,
                "predicted_at": moment,
                "prediction": rng.choice((0, 0.5, True, "yes", None)),
            }
            if rng.random() < 0.1:
                event["shown"] = False
            yield Delivery("prediction", event)
            if rng.random() < 0.05:  # other content under the same identity: whichever comes first is kept
                yield Delivery(
                    "prediction", event | {"predicted_at": moment + rng.choice((HOUR, DAY)), "prediction": 7}
                )
    for _ in range(rng.choice((0, 1, 1, 2, 3, 5, 9))):
        yield Delivery("label", _label(rng, request_id, predicted, models))


def _label(
    rng: random.Random, request_id: str, predicted: dict[tuple[str, str, str], datetime], models: list[str]
) -> dict[str, Any]:
    (model, _, item), moment = rng.choice(list(predicted.items()))
    border = rng.choice((timedelta(0), *WINDOWS, -DAY, HOUR / 2, 89 * DAY, 91 * DAY, 400 * DAY))
    event: dict[str, Any] = {
        "request_id": request_id,
        "name": rng.choice(("a", "a", "a", "b", "c", "of no rule", "shown")),
        "observed_at": moment + border + rng.choice((timedelta(0), timedelta(0), MICROSECOND, -MICROSECOND)),
        "source": rng.choice(SOURCES),
    }
    if rng.random() < 0.8:
        event["label_id"] = rng.choice(("a", "b", "c", "d", "e", "f", "ä", "日", "z-1", "z-10", "z-2"))
    if rng.random() < 0.9:
        event["item_id"] = item
    if rng.random() < 0.25:
        event["model"] = model if rng.random() < 0.7 else rng.choice(models)
    if rng.random() < 0.2:
        event["op"] = "retract"
    else:
        event["value"] = _value(rng) if event["name"] != "shown" else rng.random() < 0.7
    return event


def _value(rng: random.Random) -> Scalar:
    small = rng.randint(-3, 3)
    return rng.choice(
        (
            small,
            small,
            small / 2,
            0,
            0.0,
            -0.0,
            -abs(small),
            rng.random() < 0.5,
            "",
            "1",
            "yes",
            2**53 + 1,
            2**70,
            -(10**400),
            1e300,
        )
    )


@dataclass
class Oracle:
    """What a store of these rules holds after deliveries, in plain Python."""

    configs: dict[str, ModelConfig]
    predictions: dict[tuple[str, str, str, str], dict[str, Any]] = field(default_factory=dict)
    """By request ID, model, version, item: the first content."""
    labels: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    """By request ID and label ID: the first content."""
    counts: dict[str, int] = field(default_factory=lambda: {"accepted": 0, "duplicates": 0, "rejected": 0})

    def deliver(self, delivery: Delivery) -> None:
        """What is new is kept; what is known is a duplicate, or refused where its content is another."""
        event = delivery.event
        into: dict[Any, dict[str, Any]]
        identity: tuple[str, ...]
        if delivery.kind == "prediction":
            into = self.predictions
            identity = (event["request_id"], event["model"], event["model_version"], event["item_id"])
        else:
            into = self.labels
            identity = (event["request_id"], _label_id(event))
        known = into.setdefault(identity, event)
        if known is event and identity not in self._seen:
            self._seen.add(identity)
            self.counts["accepted"] += 1
        elif _content(known) == _content(event):
            self.counts["duplicates"] += 1
        else:
            self.counts["rejected"] += 1

    def __post_init__(self) -> None:
        self._seen: set[tuple[str, ...]] = set()

    def outcomes(self) -> dict[tuple[str, str, str, str, str], tuple[datetime, Outcome]]:
        """By request ID, model, version, item, label: when it was predicted, and the outcome. Only where events are known."""
        of_item: dict[tuple[str, str], list[tuple[str, dict[str, Any]]]] = {}
        for (request_id, label_id), event in self.labels.items():
            of_item.setdefault((request_id, event.get("item_id", "")), []).append((label_id, event))
        found = {}
        for (request_id, model, version, item), prediction in self.predictions.items():
            by_name: dict[str, list[Event]] = {}
            for label_id, event in of_item.get((request_id, item), ()):
                if event.get("model", "") in ("", model):
                    by_name.setdefault(event["name"], []).append(_as_event(label_id, event))
            moment = prediction["predicted_at"]
            for name, events in by_name.items():
                found[request_id, model, version, item, name] = (
                    moment,
                    fold(events, moment, self.configs[model].label(name)),
                )
        return found

    def orphans(self) -> set[tuple[str, str]]:
        """Request ID and label ID of the label events that wait for their prediction."""
        places: dict[tuple[str, str], set[str]] = {}
        for request_id, model, _, item in self.predictions:
            places.setdefault((request_id, item), set()).add(model)
        return {
            (request_id, label_id)
            for (request_id, label_id), event in self.labels.items()
            if not (models := places.get((request_id, event.get("item_id", ""))))
            or event.get("model", "") not in ("", *models)
        }

    def states(self, model: str, name: str, now: datetime) -> dict[str, int]:
        """How many predictions of a model are in which state, of those that count: what was not shown does not."""
        outcomes = self.outcomes()
        rules = self.configs[model].label(name)
        states = dict.fromkeys(("labelled", "defaulted", "pending", "retracted"), 0)
        for (request_id, of, version, item), prediction in self.predictions.items():
            if of != model:
                continue
            nothing = (prediction["predicted_at"], Outcome("pending"))
            if prediction.get("shown") is False:
                _, shown = outcomes.get((request_id, of, version, item, "shown"), nothing)
                if shown.value is not True:
                    continue
            moment, outcome = outcomes.get((request_id, of, version, item, name), nothing)
            states[at(outcome, moment, rules, now).state] += 1
        return states


def _content(event: dict[str, Any]) -> str:
    return repr(sorted(({"item_id": "", "model": "", "op": "set"} | event).items()))  # 1, 1.0 and True differ


def _label_id(event: dict[str, Any]) -> str:
    if "label_id" in event:
        return str(event["label_id"])
    return check_label(LabelEvent(**event | {"observed_at": event["observed_at"].isoformat()})).label_id


def _as_event(label_id: str, event: dict[str, Any]) -> Event:
    return Event(label_id, event.get("op", "set"), event.get("value"), event["observed_at"], event["source"])
