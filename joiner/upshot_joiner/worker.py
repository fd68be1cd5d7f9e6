"""What a worker consists of, put together once: Kafka → committer → store → join. Read :meth:`Worker.open` from top to bottom.

Any number of workers share one consumer group and one store. None of them has anything of its own to lose: what it did not commit
comes again to another one, and what comes twice changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from upshot_joiner.activity import Activity
from upshot_joiner.changes import ChangedHours
from upshot_joiner.clock import Clock, Stamper
from upshot_joiner.config import ConfigStore
from upshot_joiner.intake.committer import Committer
from upshot_joiner.intake.kafka.consume import KafkaIntake, Patience
from upshot_joiner.intake.kafka.contract import Consumer, Producer
from upshot_joiner.intake.kafka.lane import Bounds
from upshot_joiner.intake.kafka.poison import PoisonLimit
from upshot_joiner.intake.receive import Receiver
from upshot_joiner.join.attributor import Attributor
from upshot_joiner.join.joiner import Joiner
from upshot_joiner.processes import Processes, StoreClock
from upshot_joiner.sharing import take_part
from upshot_joiner.store.client import Store
from upshot_joiner.store.entities import EntityTypes
from upshot_joiner.store.last_stamp import last_stamp
from upshot_joiner.store.served import ServedTables
from upshot_joiner.writers.arrivals import Arrivals


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """How a worker works; the defaults are for production."""

    bounds: Bounds = field(default_factory=Bounds)
    limit: PoisonLimit = field(default_factory=PoisonLimit)
    patience: Patience = field(default_factory=Patience)


@dataclass
class Worker:
    """Everything that a running worker consists of."""

    store: Store
    processes: Processes | None
    arrivals: Arrivals
    committer: Committer
    joiner: Joiner
    attributor: Attributor
    producer: Producer
    intake: KafkaIntake

    @classmethod
    def open(
        cls,
        store: Store,
        consumer: Consumer,
        producer: Producer,
        clock: Clock,
        settings: WorkerSettings | None = None,
    ) -> Worker:
        """Put a worker together and start what runs beside it; `run` consumes. The store must be migrated."""
        settings = settings or WorkerSettings()
        # store ← who serves what, by which rules
        served = ServedTables(store)
        after = last_stamp(store, served.tables())
        processes = None
        if store.is_shared:  # then time is the store's
            clock = store_clock = StoreClock(store)
            processes = Processes(store, store_clock, "work")
        stamper = Stamper(clock, after, processes.hold) if processes else Stamper(clock, after)
        configs = ConfigStore(store, stamper)
        activity = Activity(store)
        changes = ChangedHours()
        entities = EntityTypes(store, stamper)
        # Kafka → intake → store → join
        joiner = Joiner(store, configs, stamper, changes, entities)
        attributor = Attributor(store, served, entities, configs, stamper, joiner.touched)
        arrivals = Arrivals(store, served, stamper, sharing=processes)
        committer = Committer(
            *(store, served, configs, stamper, changes, activity, arrivals, joiner.touched),
            *(entities, attributor.touched),
        )
        intake = KafkaIntake(
            consumer,
            producer,
            Receiver(committer),
            bounds=settings.bounds,
            limit=settings.limit,
            patience=settings.patience,
        )
        worker = cls(store, processes, arrivals, committer, joiner, attributor, producer, intake)
        arrivals.start()
        committer.start()
        joiner.start()
        attributor.start(committer.run)
        if processes is not None:
            parts = (store, served, configs, activity, committer, joiner, entities, attributor)
            take_part(processes, *parts, kafka=lambda: intake.lag)
        return worker

    def run(self) -> None:
        """Consume until `stop`; then finish what is on its way, commit it and leave the group."""
        self.intake.run()

    def stop(self) -> None:
        """Ask `run` to end; callable from any thread and from a signal handler."""
        self.intake.stop()

    def close(self) -> None:
        """End the parts, the sources first. The store stays open: it belongs to the caller."""
        self.attributor.close()
        self.committer.close()
        self.arrivals.close()
        self.joiner.close()
        if self.processes is not None:
            self.processes.close(
                is_whole=self.committer.is_whole and self.attributor.is_whole and not self.joiner.behind
            )
        self.producer.close(timeout_s=5)

    def status(self) -> dict[str, Any]:
        """What it is doing, for JSON; ``reasons`` say why it does not do its work."""
        return {
            **self.intake.status.as_dict(),
            "requests_to_join": self.joiner.behind,
            "entities_to_attribute": self.attributor.behind,
            "writer_failing": self.committer.failing or None,
        }
