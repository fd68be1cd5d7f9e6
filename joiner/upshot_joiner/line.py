"""The line that every event goes through, put together once for servers and workers alike: rules → intake → store → join.

Read :meth:`Line.open` from top to bottom. What feeds it (HTTP, Kafka) and what reads the store (monitoring, exports) is put around.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from upshot_joiner.activity import Activity
from upshot_joiner.backlog import Backlog, KafkaLag, backlog_of
from upshot_joiner.changes import ChangedHours
from upshot_joiner.clock import Clock, Stamper
from upshot_joiner.config import ConfigStore
from upshot_joiner.intake.committer import Committer
from upshot_joiner.intake.group import GroupWriter
from upshot_joiner.join.attributor import Attributor
from upshot_joiner.join.joiner import Joiner
from upshot_joiner.processes import Process, Processes, StoreClock, left_since
from upshot_joiner.store.client import Store
from upshot_joiner.store.entities import EntityTypes
from upshot_joiner.store.last_stamp import last_stamp
from upshot_joiner.store.served import ServedTables
from upshot_joiner.writers.arrivals import Arrivals

FINISH_TIMEOUT_S = 60.0


@dataclass
class Line:
    """The parts between an event's arrival and its outcome."""

    store: Store
    clock: Clock
    """The store's, where it is shared."""
    processes: Processes | None
    """This process among those that share the store; None where it is embedded."""
    served: ServedTables
    stamper: Stamper
    configs: ConfigStore
    activity: Activity
    changes: ChangedHours
    entities: EntityTypes
    joiner: Joiner
    attributor: Attributor
    arrivals: Arrivals
    committer: Committer

    @classmethod
    def open(cls, store: Store, clock: Clock, kind: str = "serve") -> Line:
        """Put the parts together over a migrated store. ``clock`` is that of an embedded store; ``kind``: of process."""
        processes = None
        if store.is_shared:
            clock = store_clock = StoreClock(store)
            processes = Processes(store, store_clock, kind)
        # store ← who serves what, by which rules
        served = ServedTables(store)
        after = last_stamp(store, served.tables())
        stamper = Stamper(clock, after, processes.hold) if processes else Stamper(clock, after)
        configs = ConfigStore(store, stamper)
        activity = Activity(store)
        changes = ChangedHours()
        entities = EntityTypes(store, stamper)
        # intake → store → join
        joiner = Joiner(store, configs, stamper, changes, entities)
        attributor = Attributor(store, served, entities, configs, stamper, joiner.touched)
        arrivals = Arrivals(store, served, stamper, sharing=processes)
        writer = GroupWriter(
            *(store, served, configs, stamper, changes, activity, arrivals, joiner.touched),
            *(entities, attributor.touched),
        )
        committer = Committer(store, served, stamper, activity, writer)
        return cls(
            *(store, clock, processes, served, stamper, configs, activity, changes, entities),
            *(joiner, attributor, arrivals, committer),
        )

    def start(self, kafka: Callable[[], KafkaLag] | None = None) -> None:
        """Begin; ``kafka`` is asked for what a worker's partitions hold."""
        self.arrivals.start()
        self.committer.start()
        self.joiner.start()
        self.attributor.start(self.committer.run)
        if self.processes is not None:
            self._take_part(self.processes, kafka)

    def close(self) -> None:
        """End the parts, the sources first, and say whether anything is left to do. The store stays open."""
        self.attributor.close()
        self.committer.close()
        self.arrivals.close()
        self.joiner.close()
        if self.processes is not None:
            self.processes.close(
                is_whole=self.committer.is_whole and self.attributor.is_whole and not self.joiner.behind
            )

    def _take_part(self, processes: Processes, kafka: Callable[[], KafkaLag] | None) -> None:
        """Say that this process lives and what it holds, finish what killed ones left, learn what others write."""
        started = processes.started

        def finish_what_was_left(dead: Process) -> None:
            since = left_since(dead)
            self.committer.run(lambda: self.committer.recover(since)).result(FINISH_TIMEOUT_S)
            self.attributor.look_again(since)
            self.joiner.look_again(since)

        def learn_what_others_wrote() -> None:
            self.configs.refresh()
            self.served.refresh()
            self.entities.refresh()
            self.activity.refresh(self.store)

        def backlog(now: datetime, stored: datetime) -> Backlog:
            lag = kafka() if kafka else None
            return backlog_of(now, stored, started, self.committer, self.joiner, self.attributor, lag)

        processes.follow(
            stored=self.committer.barrier,
            joined=lambda: self.attributor.attributed_until(self.joiner.joined_until),
            backlog=backlog,
            adopt=finish_what_was_left,
            refresh=learn_what_others_wrote,
        )
        processes.start()
