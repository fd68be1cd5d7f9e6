"""The parts die between any two of their steps (rows F15, F21, F30), or the store fails now and then, and nothing shows it."""

from __future__ import annotations

import contextlib
import itertools
import random
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from tests.joiner.conftest import Line
from tests.joiner.failing_store import DyingStore, FlakyStore
from tests.joiner.histories import World, make_world
from tests.joiner.soak import differences, play
from tests.running_clickhouse import RunningClickHouse
from tests.waiting import eventually
from upshot_joiner.config import LabelConfig, ModelConfig
from upshot_joiner.conservation import Conservation
from upshot_joiner.errors import Problem, StoreError
from upshot_joiner.join import joiner as joiner_module
from upshot_joiner.join import rule
from upshot_joiner.join.joiner import Joiner
from upshot_joiner.store.client import Store
from upshot_joiner.writers.answers import WriterAnswers

MAX_CALLS = 40
"""No group takes so many statements: a test that comes here would not have ended otherwise."""


def books(line: Line) -> dict[str, Any]:
    """The books of parts that are open and idle."""
    assert line.joiner.wait_until_idle(30)
    writers = WriterAnswers(line.store, line.arrivals)
    return Conservation(line.store, line.served, line.committer, line.joiner, writers).books()


def rows_of(store: Store, model: str, ids: list[str]) -> list[tuple[str, str, int]]:
    """Each outcome of these requests as a reader sees it: request, value, how often."""
    return store.query(
        "SELECT request_id, any(value_text), count() FROM outcomes FINAL WHERE model = {m:String} "
        "AND request_id IN {ids:Array(String)} GROUP BY request_id ORDER BY request_id",
        {"m": model, "ids": ids},
    )


@pytest.mark.timeout(900)  # some thirty lives
@pytest.mark.parametrize("after", [False, True], ids=["before it", "after it"])
def test_the_writer_dies_at_any_statement_and_the_sender_sends_again(
    embedded_store: Store, fresh: str, after: bool
) -> None:
    """F15, F21: of what was answered nothing is lost, of what was sent again nothing is there twice, and the books balance."""
    store = embedded_store
    deaths = 0
    for at_call in range(1, MAX_CALLS):
        model, ids = fresh, [f"{fresh}-{at_call}-{n}" for n in range(3)]
        predictions = [{"request_id": id_, "model": model, "features": {"x": 1, f"f{at_call}": 2.5}} for id_ in ids]
        labels = [{"request_id": id_, "value": n, "label_id": "l"} for n, id_ in enumerate(ids)]
        dying = DyingStore(store)
        line = Line.open(
            dying, touched=lambda _keys, _received: None
        )  # the joiner does nothing: these deaths are the writer's
        dying.arm(at_call, after=after)
        answered = []
        for send in (lambda line=line, p=predictions: line.predict(*p), lambda line=line, e=labels: line.label(*e)):
            with contextlib.suppress(Problem):
                answered.append(send().accepted)
        died = dying.is_dead
        dying.is_dead = True
        line.close()
        again = Line.open(store)
        try:
            found = again.store.query(
                "SELECT uniqExact(request_id), count() FROM predictions FINAL WHERE request_id IN {ids:Array(String)}",
                {"ids": ids},
            )
            assert found[0] in ((0, 0), (3, 3)), "a group is there wholly or not at all"
            assert found[0] == (3, 3) or not answered, "what was answered is stored"
            for answer in (again.predict(*predictions), again.label(*labels)):
                assert (answer.accepted + answer.duplicates, answer.rejected) == (3, 0)
            assert again.joiner.wait_until_idle(30)
            assert rows_of(store, model, ids) == [(id_, str(n), 1) for n, id_ in enumerate(ids)]
            assert again.activity.predictions(model) == 3 * at_call
            if not died:
                assert books(again)["differences"] == []
        finally:
            again.close()
        deaths += died
        if not died:
            break
    assert deaths >= 5, "the writer took fewer statements than it has"
    assert not died


@pytest.mark.parametrize("few_keys", [joiner_module.FEW_KEYS, -1], ids=["in Python", "in SQL"])
@pytest.mark.timeout(900)  # some thirty lives
@pytest.mark.parametrize("after", [False, True], ids=["before it", "after it"])
def test_the_joiner_dies_between_any_two_steps(
    embedded_store: Store, fresh: str, after: bool, few_keys: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F30: whoever reads meanwhile sees each prediction once, with the old value or the new; the next life finishes it."""
    monkeypatch.setattr(joiner_module, "FEW_KEYS", few_keys)
    store = embedded_store
    lives = [[f"{fresh}-{at_call:02}-{n}" for n in range(3)] for at_call in range(MAX_CALLS)]
    line = Line.open(store)
    line.predict(*({"request_id": id_, "model": fresh} for ids in lives for id_ in ids[:2]))
    line.label(*({"request_id": id_, "value": "old", "observed_at": 1e9} for ids in lives for id_ in ids))
    assert line.joiner.wait_until_idle(30)
    line.close()
    line = Line.open(
        store, touched=lambda _keys, _received: None
    )  # its joiner is told nothing: those below die and live
    deaths = 0
    try:
        for at_call, ids in enumerate(lives, 1):
            line.predict({"request_id": ids[2], "model": fresh})
            line.label(*({"request_id": id_, "value": "new"} for id_ in ids))
            dying = DyingStore(store)
            dying.arm(at_call, after=after)
            died = lived(line, dying)
            seen = rows_of(store, fresh, ids)
            assert all(n == 1 for _, _, n in seen)
            assert {request_id for request_id, _, _ in seen} >= set(ids[:2])
            assert {value for request_id, value, _ in seen if request_id in ids[:2]} <= {"old", "new"}
            assert not lived(line, DyingStore(store))
            assert rows_of(store, fresh, ids) == [(id_, "new", 1) for id_ in ids]
            deaths += died
            if not died:
                break
        assert books(line)["differences"] == []
    finally:
        line.close()
    assert deaths >= 5
    assert not died


def lived(line: Line, store: DyingStore) -> bool:
    """The life of a joiner over a store: it finds what is not joined, and joins it or dies; returns whether it died."""
    try:
        one = Joiner(store, line.configs, line.stamper, line.changes, line.entities)
    except StoreError:
        return True
    one.start()
    eventually(lambda: store.is_dead or one.wait_until_idle(0.0), 60)
    died, store.is_dead = store.is_dead, store.is_dead or store.is_armed
    one.close()
    return died


def long_world(name: str) -> World:
    """Histories in at least eight batches: in fewer, too little fails for a run to say anything."""
    worlds = (make_world(f"{name}-{n}", 60, n_models=3) for n in itertools.count())
    return next(world for world in worlds if len(world.batches) >= 8)


@pytest.mark.timeout(900)
def test_histories_come_true_over_a_store_that_fails(store: Store, fresh: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """F21, F23: six statements of a hundred fail, before or after it was done; senders send again, the joiner tries again."""
    monkeypatch.setattr(joiner_module, "RETRY_S", 0.01)
    rng = random.Random(fresh)
    flaky = FlakyStore(store, rng, share=0.0)
    world = long_world(fresh)
    line, oracle = play(flaky, world, rng, calm=lambda calm: setattr(flaky, "share", 0.0 if calm else 0.06))
    try:
        assert differences(line, world, oracle, rng) == []
        assert books(line)["differences"] == []
    finally:
        line.close()
    assert flaky.failed >= 3, "the store failed too seldom for the run to say anything"


@pytest.mark.timeout(900)
def test_histories_come_true_on_a_server_that_is_killed(own_clickhouse: RunningClickHouse, fresh: str) -> None:
    """F21: the ClickHouse server is killed again and again in the middle of what it is asked, and started again."""
    own_clickhouse.start()
    store = Store.open_server(own_clickhouse.url)
    store.migrate("upshot_joiner.store.schema")
    rng = random.Random(21)
    # One thread for all kills: a server that is started here ends with the thread that started it.
    executioner = ThreadPoolExecutor(1)
    kills: list[Future[None]] = []

    def kill(after_s: float) -> None:
        time.sleep(after_s)
        own_clickhouse.kill()
        own_clickhouse.start()

    def calm(is_calm: bool) -> None:
        for one in kills:
            one.result()
        if not is_calm and rng.random() < 0.6:
            kills.append(executioner.submit(kill, rng.uniform(0.0, 0.15)))

    world = long_world(fresh)
    line, oracle = play(store, world, rng, calm)
    try:
        assert differences(line, world, oracle, rng) == []
        assert books(line)["differences"] == []
    finally:
        line.close()
        store.close()
        executioner.shutdown()
    assert len(kills) >= 2, "too few kills for the run to say anything"


@pytest.mark.parametrize("repeats", [1, 3])
def test_a_thousand_labels_of_one_prediction(store: Store, line: Line, fresh: str, repeats: int) -> None:
    """F32: each counts, once, in whatever order they come; half of them before their prediction."""
    line.configs.put(fresh, ModelConfig(labels={"label": LabelConfig(combine="sum")}))
    labels = [
        {"request_id": fresh, "value": n, "label_id": str(n), "observed_at": 1.6e9 + n % 7} for n in range(1000)
    ] * repeats
    random.Random(fresh).shuffle(labels)
    line.label(*labels[: len(labels) // 2])
    line.predict({"request_id": fresh, "model": fresh})
    line.label(*labels[len(labels) // 2 :])
    assert line.outcomes(fresh) == [("", "", "label", "labelled", str(sum(range(1000))))]
    assert len(line.story(fresh)["label_events"]) == 1000


def test_a_storm_of_corrections_ends_with_the_last_observed(line: Line, fresh: str) -> None:
    """F32: eight senders correct the same ten outcomes at once, a hundred times; the latest observation counts everywhere."""
    ids = [f"{fresh}-{n}" for n in range(10)]
    line.predict(*({"request_id": id_, "model": fresh} for id_ in ids))

    def correct(sender: int) -> None:
        for number in random.Random(sender).sample(range(13), 13):
            moment = 1.6e9 + number * 8 + sender
            line.label(*({"request_id": id_, "value": number * 8 + sender, "observed_at": moment} for id_ in ids))

    threads = [threading.Thread(target=correct, args=(sender,)) for sender in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [line.outcomes(id_) for id_ in ids] == [[("", "", "label", "labelled", "103")]] * 10
    assert line.coverage(fresh)["labelled"] == 10


@pytest.mark.parametrize("days", [89, 91])
def test_a_label_at_the_border_of_a_window_of_90_days(line: Line, fresh: str, days: int) -> None:
    """F32: inside it counts, outside it does not, where late labels are rejected; and it stays in the ledger."""
    line.configs.put(
        fresh, ModelConfig(labels={"label": LabelConfig(window=timedelta(days=90), late="reject", default=0)})
    )
    now = line.clock.now().timestamp()
    line.predict({"request_id": fresh, "model": fresh, "predicted_at": now - 100 * 86400})
    line.label({"request_id": fresh, "value": 1, "observed_at": now - (100 - days) * 86400})
    assert line.joiner.wait_until_idle(30)
    [told] = line.story(fresh)["outcomes"]
    assert (told["state"], told["value"]) == (("labelled", 1) if days == 89 else ("defaulted", 0))
    assert len(line.story(fresh)["label_events"]) == 1


def test_the_rule_does_not_depend_on_order_or_repetition() -> None:
    """F29: a thousand generated sets of events, shuffled, repeated and sent again: one outcome each."""
    rng = random.Random(29)
    world = make_world("f29", 400)
    by_request: dict[str, list[rule.Event]] = {}
    for delivery in itertools.chain.from_iterable(world.batches):
        event = delivery.event
        if delivery.kind == "label":
            by_request.setdefault(event["request_id"], []).append(
                rule.Event(
                    f"{event.get('label_id')}-{len(by_request.get(event['request_id'], []))}",
                    event.get("op", "set"),
                    event.get("value"),
                    event["observed_at"],
                    event["source"],
                )
            )
    tried = 0
    for config in world.configs.values():
        for rules in config.labels.values():
            for events in rng.sample(list(by_request.values()), 70):
                predicted_at = events[0].observed_at
                expected = repr(rule.fold(events, predicted_at, rules))
                for _ in range(3):
                    shuffled = events * rng.choice((1, 3)) + rng.sample(events, len(events) // 2)
                    rng.shuffle(shuffled)
                    assert repr(rule.fold(shuffled, predicted_at, rules)) == expected
                tried += 1
    assert tried >= 1000
