"""The parts of one process among the others that share its store, put together once for servers and workers alike."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from upshot_joiner.activity import Activity
from upshot_joiner.backlog import Backlog, KafkaLag, backlog_of
from upshot_joiner.config import ConfigStore
from upshot_joiner.intake.committer import Committer
from upshot_joiner.join.attributor import Attributor
from upshot_joiner.join.joiner import Joiner
from upshot_joiner.processes import Process, Processes, left_since
from upshot_joiner.store.client import Store
from upshot_joiner.store.entities import EntityTypes
from upshot_joiner.store.served import ServedTables

FINISH_TIMEOUT_S = 60.0


def take_part(
    processes: Processes,
    store: Store,
    served: ServedTables,
    configs: ConfigStore,
    activity: Activity,
    committer: Committer,
    joiner: Joiner,
    entities: EntityTypes,
    attributor: Attributor,
    kafka: Callable[[], KafkaLag] | None = None,
) -> None:
    """Say that this process lives and what it holds, finish what killed ones left, learn what others write. Committer, joiner
    and attributor must be started; ``kafka`` is asked for what a worker's partitions hold."""
    started = processes.started

    def finish_what_was_left(dead: Process) -> None:
        since = left_since(dead)
        committer.run(lambda: committer.recover(since)).result(FINISH_TIMEOUT_S)
        attributor.look_again(since)
        joiner.look_again(since)

    def learn_what_others_wrote() -> None:
        configs.refresh()
        served.refresh()
        entities.refresh()
        activity.refresh(store)

    def backlog(now: datetime, stored: datetime) -> Backlog:
        return backlog_of(now, stored, started, committer, joiner, attributor, kafka() if kafka else None)

    processes.follow(
        stored=committer.barrier,
        joined=lambda: attributor.attributed_until(joiner.joined_until),
        backlog=backlog,
        adopt=finish_what_was_left,
        refresh=learn_what_others_wrote,
    )
    processes.start()
