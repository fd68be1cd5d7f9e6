"""How far behind a worker is, in messages and in time."""

from __future__ import annotations

import pytest

from tests.joiner.kafka.conftest import GROUP, Running, events_of
from upshot_joiner.backlog import KafkaLag
from upshot_joiner.errors import StoreUnavailable
from upshot_joiner.intake.kafka.consume import LOOK_FOR_ENDS_EVERY_S, KafkaIntake
from upshot_joiner.intake.kafka.contract import LABELS, PREDICTIONS, Partition
from upshot_joiner.intake.kafka.lane import IDLE_LOOKS, MAX_MARKS, Lane
from upshot_joiner.intake.kafka.poison import PoisonLimit
from upshot_joiner.intake.receive import Receiver


def a_lane() -> Lane:
    return Lane(Partition(LABELS, 0), PoisonLimit())


def test_a_worker_knows_since_when_it_is_behind(running: Running, fresh: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock stands still but for the test: whole while there is nothing, then as old as what the store does not take."""
    now = [1000.0]
    member = running.broker.member(GROUP, [PREDICTIONS, LABELS])
    intake = KafkaIntake(member, running.broker.producer(), Receiver(running.line.committer), monotonic=lambda: now[0])

    def pass_time(seconds: float) -> KafkaLag:
        for _ in range(int(seconds / LOOK_FOR_ENDS_EVERY_S)):
            now[0] += LOOK_FOR_ENDS_EVERY_S
            intake.step()
        return intake.lag

    def refuse(*_: object) -> None:
        raise StoreUnavailable("not now")

    intake.step()
    intake.step()
    assert intake.lag == KafkaLag(0, 0.0)
    monkeypatch.setattr(running.line.store, "insert", refuse)
    running.predict(*events_of(fresh, 0, 1))
    running.predict(*events_of(fresh, 2))
    before = pass_time(LOOK_FOR_ENDS_EVERY_S).age_s
    assert before is not None
    lag = pass_time(600)
    assert lag == KafkaLag(2, before + 600)
    monkeypatch.undo()
    for _ in range(200):
        lag = pass_time(LOOK_FOR_ENDS_EVERY_S)
        if not lag.messages:
            break
    assert lag.messages == 0
    assert lag.age_s is not None
    assert lag.age_s <= LOOK_FOR_ENDS_EVERY_S
    assert [lane.behind_s for lane in intake.status.partitions if lane.behind_s is None] == []
    member.close(1)


def test_a_partition_is_whole_up_to_the_last_end_that_is_done() -> None:
    """Ends are remembered with when they were seen; of very many, some."""
    lane = a_lane()
    lane.is_paused = True
    for n in range(10 * MAX_MARKS):
        lane.saw_end(100 + n, float(n))
    assert len(lane.marks) <= MAX_MARKS
    assert lane.whole_at is None
    lane.done = 100
    lane.look_back()
    assert lane.whole_at == 0.0
    lane.done = 100 + 5 * MAX_MARKS
    lane.look_back()
    assert 0.0 < lane.whole_at <= 5 * MAX_MARKS
    lane.done = 100 + 10 * MAX_MARKS
    lane.look_back()
    assert lane.whole_at > 9 * MAX_MARKS
    assert not lane.marks


def test_offsets_without_a_message_do_not_make_a_partition_late_for_ever() -> None:
    """Deleted messages and marks of transactions: the end is not reached, though nothing comes any more."""
    lane = a_lane()
    for n in range(IDLE_LOOKS - 1):
        lane.saw_end(7, float(n))
    assert lane.whole_at is None
    lane.saw_end(7, 99.0)
    assert lane.whole_at == IDLE_LOOKS - 2  # all but the last, of which a message may be on its way


@pytest.mark.parametrize("why", ["paused", "stopped"])
def test_a_partition_that_is_not_read_is_not_taken_for_read_to_its_end(why: str) -> None:
    """Nothing comes of it because nobody asks."""
    lane = a_lane()
    lane.is_paused = why == "paused"
    lane.stopped = "poison" if why == "stopped" else ""
    for n in range(10):
        lane.saw_end(7, float(n))
    assert lane.whole_at is None
