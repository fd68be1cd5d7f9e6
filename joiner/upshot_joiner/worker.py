"""What a worker consists of, put together once: Kafka → committer → store → join. Read :meth:`Worker.open` from top to bottom.

Any number of workers share one consumer group and one store. None of them has anything of its own to lose: what it did not commit
comes again to another one, and what comes twice changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from upshot_joiner.clock import Clock
from upshot_joiner.intake.kafka.consume import KafkaIntake, Patience
from upshot_joiner.intake.kafka.contract import Consumer, Producer
from upshot_joiner.intake.kafka.lane import Bounds
from upshot_joiner.intake.kafka.poison import PoisonLimit
from upshot_joiner.intake.receive import Receiver
from upshot_joiner.line import Line
from upshot_joiner.store.client import Store


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """How a worker works; the defaults are for production."""

    bounds: Bounds = field(default_factory=Bounds)
    limit: PoisonLimit = field(default_factory=PoisonLimit)
    patience: Patience = field(default_factory=Patience)


@dataclass
class Worker:
    """Everything that a running worker consists of."""

    line: Line
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
        line = Line.open(store, clock, "work")
        intake = KafkaIntake(
            consumer,
            producer,
            Receiver(line.committer),
            bounds=settings.bounds,
            limit=settings.limit,
            patience=settings.patience,
        )
        line.start(kafka=lambda: intake.lag)
        return cls(line, producer, intake)

    def run(self) -> None:
        """Consume until `stop`; then finish what is on its way, commit it and leave the group."""
        self.intake.run()

    def stop(self) -> None:
        """Ask `run` to end; callable from any thread and from a signal handler."""
        self.intake.stop()

    def close(self) -> None:
        """End the parts, the sources first. The store stays open: it belongs to the caller."""
        self.line.close()
        self.producer.close(timeout_s=5)

    def status(self) -> dict[str, Any]:
        """What it is doing, for JSON; ``reasons`` say why it does not do its work."""
        return {
            **self.intake.status.as_dict(),
            "requests_to_join": self.line.joiner.behind,
            "entities_to_attribute": self.line.attributor.behind,
            "writer_failing": self.line.committer.failing or None,
        }
