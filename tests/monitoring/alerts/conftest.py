"""Alerts over the real store, with numbers, clock and receivers that the test holds in its hands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.monitoring.alerts.receivers import HttpReceiver, MailServer
from tests.monitoring.conftest import START, Flywheel
from upshot_joiner.clock import FixedClock
from upshot_joiner.config import ConfigStore, ModelConfig, read_config
from upshot_joiner.feed.records import FeedRecords
from upshot_joiner.intake.webhooks import standard
from upshot_joiner.store.client import Store
from upshot_monitoring.alerts.alerts import Alerts
from upshot_monitoring.alerts.deliveries import Deliveries, Delivery
from upshot_monitoring.alerts.readings import Answers
from upshot_monitoring.alerts.settings import read_alerting
from upshot_monitoring.profiles import rolled

SECRET = standard.new_secret()
WRITERS = {"unexplained": 0, "states": {"complete": 0, "waiting": 0, "lossy": 0}}


class Configs(ConfigStore):
    """The configuration of one model alone, whatever other tests of this process have configured."""

    def __init__(self, model: str) -> None:
        self._model = model
        self.config = ModelConfig()

    def get(self, model: str) -> ModelConfig:
        """That of the model; another one is not configured."""
        return self.config if model == self._model else ModelConfig()

    def models(self) -> list[str]:
        """The one."""
        return [self._model]


@dataclass
class First:
    """One of several servers; whether it is the one that acts."""

    first: bool = True

    def is_first(self) -> bool:
        """As the test says."""
        return self.first

    def settled_until(self) -> Any:
        """Not asked for here."""
        return START


@dataclass
class World:
    """A model with rules, a receiver, and any number of servers over one store, without threads."""

    store: Store
    model: str
    channel: str
    clock: FixedClock
    configs: Configs
    receiver: HttpReceiver
    answers: Answers
    environment: dict[str, str]
    waiting: int = 0
    """What ``lag.intake`` is."""
    alerting: dict[str, Any] = field(default_factory=dict)
    channel_settings: dict[str, Any] = field(default_factory=dict)

    def rule(self, when: str = "lag.intake > 10", **more: Any) -> None:
        """Put one rule in force."""
        self.configs.config = read_config({"alerts": [{"when": when, "to": [self.channel], **more}]})

    def server(self, sharing: First | None = None, **alerting: Any) -> Alerts:
        """A server as it is after a start."""
        kind = {
            "kind": "webhook",
            "url": {"env": "URL"},
            "secrets": [{"env": "SECRET"}],
            **self.channel_settings,
        }
        settings = read_alerting({"channels": {self.channel: kind}, **self.alerting, **alerting})
        return Alerts(self.store, self.configs, self.answers, self.clock, settings, self.environment, sharing)

    def deliveries(self) -> list[Delivery]:
        """What is in the queue, sent or not, in the order of creation."""
        return sorted(Deliveries(self.store).of_model(self.model), key=lambda one: (one.created_at, one.kind))

    def statuses(self) -> list[tuple[str, str]]:
        """The same in short."""
        return [(one.kind, one.status) for one in self.deliveries()]


@pytest.fixture
def receiver() -> Iterator[HttpReceiver]:
    started = HttpReceiver().start()
    yield started
    started.stop()


@pytest.fixture
def mail_server() -> Iterator[MailServer]:
    started = MailServer().start()
    yield started
    started.stop()


@pytest.fixture
def world(store: Store, fresh: str, receiver: HttpReceiver) -> World:
    """Its numbers are those that the test sets; the store, the queue and the receiver are real."""

    def nothing(*_: Any) -> Any:
        raise AssertionError("not asked for in this test")

    made = World(
        store=store,
        model=fresh,
        channel=f"ops-{fresh}",
        clock=FixedClock(START),
        configs=Configs(fresh),
        receiver=receiver,
        answers=Answers(*(nothing,) * 10),
        environment={"URL": f"{receiver.url}/hook", "SECRET": SECRET},
    )

    def lag() -> dict[str, Any]:
        return {
            "intake": {"waiting": made.waiting},
            "join": {"oldest_waiting_s": None},
            "roll_ups": {"profiles": 0, "labels": 0},
            "processes": [],
        }

    made.answers = Answers(*(nothing,) * 8, lag, lambda _: WRITERS)
    return made


def real_answers(flywheel: Flywheel) -> Answers:
    """The answers of the real monitoring over a flywheel's store."""
    monitor, store = flywheel.monitor, flywheel.store
    return Answers(
        drift=monitor.drift,
        skew=monitor.skew,
        freshness=monitor.freshness,
        performance=monitor.performance,
        served_hours=lambda model, until, version: rolled.served_hours(store, model, until, version),
        primary_label=lambda model: flywheel.configs.get(model).primary(rolled.seen_labels(store, model)),
        silences=FeedRecords(store).silences,
        traffic=lambda model: {"1": (START, {START: 5})},
        lag=dict,
        writers=lambda _: WRITERS,
        multivariate=monitor.newest_multivariate,
    )
