"""The parts of the product, put together once. Read :meth:`Parts.open` from top to bottom to see how data flows."""

from __future__ import annotations

import os
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from upshot_joiner.backlog import is_held_up
from upshot_joiner.clock import Clock
from upshot_joiner.config import ConfigFile, ModelConfig, read_config_file
from upshot_joiner.conservation import Conservation
from upshot_joiner.coverage import Coverage
from upshot_joiner.delays.label_hours import LabelHours
from upshot_joiner.entity_story import EntityStories
from upshot_joiner.errors import Problem, StoreError
from upshot_joiner.export.exporter import Exporter
from upshot_joiner.feed.feeds import Feeds
from upshot_joiner.feed.records import FeedRecords
from upshot_joiner.feed.watch import FeedWatch
from upshot_joiner.intake.committer import Committer
from upshot_joiner.intake.kserve.naming import Naming
from upshot_joiner.intake.kserve.pairing import Pairing, Waiting
from upshot_joiner.intake.pulls import Pulls
from upshot_joiner.intake.quarantine_list import Quarantine
from upshot_joiner.intake.receive import Receiver
from upshot_joiner.intake.webhooks.access import LabelAccess
from upshot_joiner.intake.webhooks.hooks import Hooks
from upshot_joiner.intake.webhooks.remembered import Remembered
from upshot_joiner.intake.webhooks.sources import Sources
from upshot_joiner.join.attributor import Attributor
from upshot_joiner.join.orphan_list import Orphans
from upshot_joiner.line import Line
from upshot_joiner.store.client import Store
from upshot_joiner.store.rescore import rescore
from upshot_joiner.store.sharded import open_scaled_out
from upshot_joiner.story import Stories
from upshot_joiner.verify.verifier import Verifier
from upshot_joiner.writers.answers import WriterAnswers
from upshot_monitoring.alerts.alerts import Alerts
from upshot_monitoring.alerts.readings import Answers
from upshot_monitoring.alerts.settings import read_alerting
from upshot_monitoring.monitor import Monitor
from upshot_monitoring.performance import catalogue as metrics
from upshot_monitoring.profiles import rolled
from upshot_server.collector import open_receiver
from upshot_server.settings import Settings

MAX_MODEL_NAME = 256
SCHEMAS = ("upshot_joiner.store.schema", "upshot_monitoring.schema")
"""Packages with the numbered ``.sql`` files of all tables."""
CATCH_UP_S = 10.0
"""How long an export waits for labels of entities to be attributed; what takes longer is attributed later than its moment."""


@dataclass
class Parts:
    """Everything that a running server consists of."""

    settings: Settings
    clock: Clock
    store: Store
    line: Line
    receiver: Receiver
    label_access: LabelAccess
    remembered: Remembered
    hooks: Hooks
    pulls: Pulls
    writers: WriterAnswers
    pairing: Pairing
    feed_watch: FeedWatch
    feeds: Feeds
    stories: Stories
    orphans: Orphans
    quarantine: Quarantine
    label_hours: LabelHours
    entity_stories: EntityStories
    coverage: Coverage
    exporter: Exporter
    verifier: Verifier
    conservation: Conservation
    monitor: Monitor
    alerts: Alerts

    @classmethod
    def open(cls, settings: Settings, clock: Clock) -> Parts:
        """Open the store and start every part. Raises StoreLocked when another process has the data folder.

        Where the store is shared with other processes, time is the store's: ``clock`` is that of an embedded store.
        """
        configured = read_config_file(settings.config_file) if settings.config_file is not None else ConfigFile({}, {})
        alerting = read_alerting(configured.alerting)
        label_access = LabelAccess(
            clock,
            [secret.get_secret_value() for secret in settings.label_secrets],
            settings.label_secrets_file,
            settings.label_keys,
            settings.label_auth == "required",
        )
        store = open_store(settings)
        try:
            store.migrate("upshot_joiner.store.schema")
            line = Line.open(store, clock)
            clock, stamper, processes = line.clock, line.stamper, line.processes
            served, configs, activity, changes = line.served, line.configs, line.activity, line.changes
            joiner, attributor, committer, entities = line.joiner, line.attributor, line.committer, line.entities
            owner = settings.server_id() if processes else ""
            # HTTP → line
            receiver = open_receiver(settings, committer)
            remembered = Remembered(store, clock)
            sources = Sources(store, stamper, os.environ)
            hooks = Hooks(store, stamper, clock, receiver, committer, sources, exposed=not settings.is_local)
            pulls = Pulls(store, stamper)
            writers = WriterAnswers(store, line.arrivals)
            pairing = Pairing(
                store,
                receiver,
                committer,
                clock,
                Naming(settings.kserve_model, settings.kserve_request_id),
                Waiting(timedelta(seconds=settings.kserve_wait_s)),
            )
            # do the labels still come?
            records = FeedRecords(store)
            feed_watch = FeedWatch(
                *(store, records, configs, clock, stamper, committer.run, activity.by_hour),
                is_held_up=processes.is_held_up if processes else partial(is_held_up, clock, joiner),
            )
            feeds = Feeds(records, feed_watch, clock, stamper, committer.run)
            # → monitor, story, coverage, export
            monitor = Monitor(
                store=store,
                served=served,
                configs=configs,
                changes=changes,
                clock=clock,
                data_dir=settings.data_dir,
                sharing=processes,
                owner=owner,
            )
            entity_stories = EntityStories(store, entities, configs)
            stories = Stories(store, served, configs, clock, entity_stories)
            orphans = Orphans(store, clock)
            quarantine = Quarantine(store)
            label_hours = LabelHours(store, served, configs, activity, changes.twin())
            coverage = Coverage(store, served, activity, configs, clock, label_hours)
            exporter = Exporter(
                store,
                served,
                configs,
                clock,
                stamper,
                lambda: _barrier(attributor, committer),
                settings.exports_dir,
                entities,
                owner=owner,
                wait_for_others=processes.wait_until_stored if processes else lambda _: None,
            )
            # monitor → alerts
            alerts = Alerts(
                store,
                configs,
                Answers(
                    drift=monitor.drift,
                    skew=monitor.skew,
                    freshness=monitor.freshness,
                    multivariate=monitor.newest_multivariate,
                    performance=monitor.performance,
                    served_hours=partial(rolled.served_hours, store),
                    primary_label=lambda model: configs.get(model).primary(rolled.seen_labels(store, model)),
                    silences=records.silences,
                    traffic=lambda model: {
                        version: (served.last_seen, served.by_hour)
                        for version, served in activity.versions(model).items()
                    },
                    lag=partial(_lag, line, monitor, label_hours),
                    writers=lambda model: writers.all(None, model, 1)["totals"],
                ),
                clock,
                alerting,
                os.environ,
                processes,
            )
            # store ⇄ what follows from it
            verifier = Verifier(store, served, configs, joiner, committer, changes, clock, settings.verify_every_s)
            conservation = Conservation(store, served, committer, joiner, writers)
        except BaseException:
            store.close()
            raise
        parts = cls(
            settings,
            clock,
            store,
            line,
            receiver,
            label_access,
            remembered,
            hooks,
            pulls,
            writers,
            pairing,
            feed_watch,
            feeds,
            stories,
            orphans,
            quarantine,
            label_hours,
            entity_stories,
            coverage,
            exporter,
            verifier,
            conservation,
            monitor,
            alerts,
        )
        line.start()
        remembered.start()
        hooks.start()
        pairing.start()
        label_hours.start()
        feed_watch.start()
        monitor.start()
        exporter.start()
        verifier.start()
        for model, config in configured.models.items():
            parts.configure(model, config)
        for source, hook in configured.hooks.items():
            hooks.configure(source, hook)
        alerts.start()  # last: what a file has just configured is what it looks at
        return parts

    def close(self) -> None:
        """Stop every part, the sources first, and close the store."""
        self.alerts.stop()
        self.verifier.close()
        self.exporter.close()
        self.feed_watch.close()
        self.pairing.close()
        self.receiver.close()
        self.remembered.close()
        self.hooks.close()
        self.label_hours.close()
        self.monitor.stop()
        self.line.close()
        self.store.close()

    def models(self) -> list[str]:
        """Models that served or were configured."""
        return sorted({*self.line.activity.models(), *self.line.configs.models()})

    def knows(self, model: str) -> bool:
        """Whether the model served or was configured."""
        return model in self.models()

    def configure(self, model: str, config: ModelConfig) -> None:
        """Put a configuration in force, and bring what was stored under the earlier one in line with it."""
        if not model or len(model) > MAX_MODEL_NAME:
            raise Problem(422, "invalid_model_name", f"A model's name has 1 to {MAX_MODEL_NAME} characters.")
        metrics.check(config)
        self.alerts.check(config)
        before = self.line.configs.get(model)
        # Between two groups of the writer, so that no group is scored by one configuration and folded by another.
        changed = self.line.committer.run(lambda: self._put_in_force(model, before, config)).result()
        if changed and (before.fold_rules() != config.fold_rules() or before.task != config.task):
            self.line.joiner.refold(model)
            self.line.attributor.attribute_again(model)
        if changed:
            self.label_hours.configured(model)
            self.monitor.configured(model)
            self.alerts.configured()

    def lag(self) -> dict[str, Any]:
        """How far each step is behind: events that wait to be stored, requests that wait to be joined, hours to roll up."""
        return _lag(self.line, self.monitor, self.label_hours)

    def not_ready(self) -> list[str]:
        """Why this server should not be sent traffic; empty when it should."""
        reasons = []
        try:
            for shard in self.store.shards:
                shard.query("SELECT 1")
        except StoreError:
            reasons.append("the store does not answer")
        if self.line.committer.failing:
            try:
                self.line.committer.probe()
            except (StoreError, Problem, TimeoutError):
                reasons.append("the store does not take writes")
        return reasons

    def _put_in_force(self, model: str, before: ModelConfig, config: ModelConfig) -> bool:
        changed = self.line.configs.put(model, config)
        if changed and str(before.positive) != str(config.positive):
            rescore(self.store, self.line.served.table(model), config)
        return changed


def open_store(settings: Settings) -> Store:
    """The store that the settings name."""
    urls = settings.clickhouse_urls
    return open_scaled_out(urls, settings.cluster) if urls else Store.open_embedded(settings.data_dir)


def _lag(line: Line, monitor: Monitor, label_hours: LabelHours) -> dict[str, Any]:
    return {
        "intake": {"waiting": line.committer.waiting},
        "join": line.joiner.lag.answer(),
        "roll_ups": {"profiles": monitor.behind, "labels": label_hours.behind},
        "processes": line.processes.told() if line.processes else [],
    }


def _barrier(attributor: Attributor, committer: Committer) -> Future[datetime]:
    """The committer's barrier, once what was received so far is attributed."""
    attributor.catch_up(CATCH_UP_S)
    return committer.barrier()
