"""Plays generated histories against a store and compares everything with the oracle: `make soak ARGS="--histories 10000"`.

One pass is 500 histories: delivered shuffled, repeated, and split at random borders, while the clock jumps over hours and midnights
and the parts are closed, or die, and are opened again over the same store. Then outcomes, orphans, counts, coverage, stories, and a
second fold of everything in SQL must be what ``rule.py`` says. Prints a line per pass; after a difference also the
shortest history found that shows it, and ends with 1. A run is repeated by its seed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.joiner.conftest import Line
from tests.joiner.histories import HOUR, START, Delivery, Oracle, World, make_world
from tests.running_clickhouse import RunningClickHouse
from upshot.wire import LabelEvent, Prediction
from upshot_joiner.intake.batch import Answer
from upshot_joiner.intake.check import check_label, check_prediction, scalar_from_parts
from upshot_joiner.join import joiner
from upshot_joiner.join.rule import Outcome, at
from upshot_joiner.store.client import Store

PER_PASS = 500
JUMPS = (timedelta(0), timedelta(0), timedelta(minutes=7), HOUR, 22 * HOUR, timedelta(days=9))
PATHS = {"python": 10**9, "sql": -1, "both": 40}
"""Up to how many keys are folded in Python: always, never, or as it comes."""

_OUTCOMES = """
SELECT request_id, model, model_version, item_id, name, predicted_at, toString(state), value_kind, value_text, observed_at,
  value_number, received_at, first_received_at
FROM outcomes FINAL WHERE model IN {models:Array(String)}
ORDER BY ALL
"""
_ORPHANS = "SELECT request_id, label_id FROM orphans FINAL WHERE waiting"


def play(
    store: Store, world: World, rng: random.Random, calm: Callable[[bool], None] | None = None
) -> tuple[Line, Oracle]:
    """Deliver everything, restarts included; the parts are left open and idle.

    ``calm`` is for a store that fails: it is called with True before parts are opened or closed, and with False after. What is
    answered with 503 is sent again, so that how many were new is not known.
    """
    be_calm = calm or (lambda _: None)
    oracle = Oracle(world.configs)
    counted: Counter[str] = Counter()
    line = Line.open(store)
    line.clock.set(START)
    for model, config in world.configs.items():
        line.configs.put(model, config)
    for batch in world.batches:
        if rng.random() < 2 / len(world.batches):
            be_calm(True)
            now = line.clock.now()
            assert line.joiner.wait_until_idle(60)
            line.close()
            # In some lives the joiner is never told anything, as if it had died at once. Where several processes share the store,
            # the others find that out (`processes.py`), and there are none here: see test_many_writers.py.
            is_deaf = rng.random() < 0.5 and not store.is_shared
            line = Line.open(store, touched=(lambda _keys, _received: None) if is_deaf else None)
            line.clock.set(now)
        be_calm(False)
        line.clock.advance(rng.choice(JUMPS))
        by_kind: dict[str, list[Delivery]] = {"prediction": [], "label": []}
        for delivery in batch:
            by_kind[delivery.kind].append(delivery)
            oracle.deliver(delivery)
        predictions = [check_prediction(Prediction(**one.sent(rng))) for one in by_kind["prediction"]]
        labels = [check_label(LabelEvent(**one.sent(rng))) for one in by_kind["label"]]
        submissions = [
            (line.committer.submit_predictions, list(enumerate(predictions))),
            (line.committer.submit_labels, list(enumerate(labels))),
        ]
        rng.shuffle(submissions)
        # Together, so that they may share a group.
        answers = [(submit(events, []), submit, events) for submit, events in submissions]
        for answer, submit, events in answers:
            counted.update(_answered(answer, submit, events, tries=1 if calm is None else 5000))
    be_calm(True)
    now = line.clock.now()
    assert line.joiner.wait_until_idle(60)
    line.close()
    line = Line.open(store)  # whatever a deaf joiner left is found now
    line.clock.set(now)
    assert line.joiner.wait_until_idle(60)
    assert calm is not None or counted == Counter(oracle.counts), f"counts {counted}, expected {oracle.counts}"
    return line, oracle


def _answered(
    answer: Future[Answer], submit: Callable[..., Future[Answer]], events: list[Any], tries: int
) -> dict[str, int]:
    for _ in range(tries - 1):
        if answer.exception(60) is None:
            break
        time.sleep(0.02)  # a sender that is turned away waits a little
        answer = submit(events, [])
    done = answer.result(60)
    return {"accepted": done.accepted, "duplicates": done.duplicates, "rejected": done.rejected}


def differences(line: Line, world: World, oracle: Oracle, rng: random.Random) -> list[tuple[str, str]]:
    """Request ID (empty where it is of no one request) and what is wrong."""
    wrong = list(_compare_outcomes(line, oracle))
    expected = oracle.orphans()
    ids = {request_id for request_id, _ in oracle.labels}
    listed = [row for row in line.store.query(_ORPHANS) if row[0] in ids]
    wrong += [(r, f"orphan {label} listed {n} times") for (r, label), n in Counter(listed).items() if n > 1]
    wrong += [(r, f"orphan {label}: listed {(r, label) in set(listed)}") for r, label in set(listed) ^ expected]
    wrong += _compare_coverage(line, oracle)
    known = sorted({request_id for request_id, *_ in oracle.predictions})
    for request_id in rng.sample(known, min(5, len(known))):
        wrong += _compare_story(line.story(request_id), line, oracle)
    before = line.store.query(_OUTCOMES, {"models": list(world.configs)})
    for model in world.configs:
        line.joiner.refold(model)
    after = line.store.query(_OUTCOMES, {"models": list(world.configs)})
    wrong += [
        (row[0], f"a second fold in SQL gives {row}")
        for row in map(_rounded, after)
        if row not in set(map(_rounded, before))
    ]
    wrong += [("", f"{len(before)} outcomes before the second fold, {len(after)} after")] * (len(before) != len(after))
    return wrong


def _compare_outcomes(line: Line, oracle: Oracle) -> Iterable[tuple[str, str]]:
    expected = oracle.outcomes()
    seen = set()
    for request_id, *rest in line.store.query(_OUTCOMES, {"models": list(oracle.configs)}):
        identity = (request_id, *rest[:4])
        moment, state, kind, text, observed_at = rest[4:9]
        if identity in seen:
            yield request_id, f"{identity} is there twice"
        seen.add(identity)
        found = (moment, Outcome(state, scalar_from_parts(kind, text), observed_at))
        if identity not in expected:
            yield request_id, f"{identity}: {found}, expected nothing"
        elif not _same(found, expected[identity]):
            yield request_id, f"{identity}: {found}, expected {expected[identity]}"
    for identity in expected.keys() - seen:
        yield identity[0], f"{identity}: nothing, expected {expected[identity]}"


def _compare_coverage(line: Line, oracle: Oracle) -> Iterable[tuple[str, str]]:
    for model in oracle.configs:
        for told in line.labels(model)["labels"]:
            states = oracle.states(model, told["name"], line.clock.now())
            found = {state: told[state] for state in states}
            if found != states:
                yield "", f"coverage of {model} {told['name']}: {found}, expected {states}"


def _compare_story(story: dict[str, Any], line: Line, oracle: Oracle) -> Iterable[tuple[str, str]]:
    request_id = story["request_id"]
    expected = oracle.outcomes()
    mine = [identity for identity in oracle.predictions if identity[0] == request_id]
    if len(story["predictions"]) != len(mine):
        yield request_id, f"{len(story['predictions'])} predictions in the story, {len(mine)} sent"
    told: dict[Any, Any] = {}
    for one in story["outcomes"]:
        identity = (request_id, one["model"], one["model_version"], one["item_id"], one["name"])
        if identity in told:
            yield request_id, f"{identity} is told twice"
        told[identity] = Outcome(one["state"], one["value"], one["observed_at"])
    for identity in mine:
        prediction = oracle.predictions[identity]
        moment = prediction["predicted_at"]
        shown = expected.get((*identity, "shown"))
        counts = prediction.get("shown") is not False or (shown is not None and shown[1].value is True)
        for name in ("a", "b", "c"):
            rules = oracle.configs[identity[1]].label(name)
            _, outcome = expected.get((*identity, name), (moment, Outcome("pending")))
            outcome = at(outcome, moment, rules, line.clock.now()) if counts else outcome
            if not _same((moment, told.get((*identity, name))), (moment, outcome)):
                yield request_id, f"story of {identity} {name}: {told.get((*identity, name))}, expected {outcome}"


def _same(found: Any, expected: Any) -> bool:
    """Equal in type and value; computed numbers to twelve digits, because the order of additions is the engine's."""
    (moment, left), (of, right) = found, expected
    if left is None or (moment, left.state, left.observed_at) != (of, right.state, right.observed_at):
        return False
    if type(left.value) is not type(right.value):
        return False
    if isinstance(left.value, float):
        if math.isnan(left.value) or math.isnan(right.value):
            return math.isnan(left.value) and math.isnan(right.value)
        return math.isclose(left.value, right.value, rel_tol=1e-12, abs_tol=1e-12)
    return bool(left.value == right.value)


def _rounded(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """A row of outcomes that can be compared: numbers to twelve digits."""
    cells = list(row)
    if cells[7] == "float":
        cells[8] = f"{float(cells[8]) + 0.0:.12g}"
    cells[10] = None if cells[10] is None else f"{cells[10] + 0.0:.12g}"
    return tuple(cells)


def shortest(store: Store, world: World, request_id: str, seed: str) -> list[list[Delivery]]:
    """The fewest deliveries of one request that still show a difference, found by leaving out one after the other."""
    attempts = 0

    def fails(batches: list[list[Delivery]]) -> bool:
        nonlocal attempts
        attempts += 1
        prefix = f"{seed}-s{attempts}"
        renamed = {model: f"{prefix}-{model}" for model in world.configs}
        moved = [[_renamed(one, renamed, f"{prefix}-{request_id}") for one in batch] for batch in batches]
        small = World({renamed[model]: config for model, config in world.configs.items()}, moved, 1)
        rng = random.Random(prefix)
        try:
            line, oracle = play(store, small, rng)
        except AssertionError:
            return True
        try:
            return bool(differences(line, small, oracle, rng))
        finally:
            line.close()

    batches = world.of_request(request_id)
    if not fails(batches):
        return batches
    position = 0
    while position < sum(map(len, batches)) and attempts < 60:
        fewer, left = [], position
        for batch in batches:
            fewer.append([one for n, one in enumerate(batch) if n != left])
            left -= len(batch)
        fewer = [batch for batch in fewer if batch]
        if fewer and fails(fewer):
            batches = fewer
        else:
            position += 1
    return batches


def _renamed(one: Delivery, models: dict[str, str], request_id: str) -> Delivery:
    event = one.event | {"request_id": request_id}
    return Delivery(one.kind, event | ({"model": models[event["model"]]} if event.get("model") else {}))


def run(
    open_store: Callable[[], Store], seed: int, n_histories: int, per_pass: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Play so many histories; returns the totals. Raises AssertionError with the shortest history at the first difference."""
    store = open_store()
    totals: Counter[str] = Counter()
    began = time.monotonic()
    try:
        for number in range(-(-n_histories // per_pass)):
            path = list(PATHS)[number % len(PATHS)]
            joiner.FEW_KEYS = PATHS[path]
            world = make_world(f"h{seed}.{number}", min(per_pass, n_histories - number * per_pass))
            rng = random.Random(f"{seed}.{number}")
            line, oracle = play(store, world, rng)
            wrong = differences(line, world, oracle, rng)
            line.close()
            if wrong:
                request_id = next((request_id for request_id, _ in wrong if request_id), "")
                small = shortest(store, world, request_id, f"h{seed}.{number}") if request_id else []
                story = "\n".join(
                    f"  batch {n}: {one.kind} {one.event}" for n, batch in enumerate(small) for one in batch
                )
                rules = {model: config.model_dump(include={"labels"}) for model, config in world.configs.items()}
                raise AssertionError(
                    f"pass {number} of seed {seed} ({path}): {len(wrong)} differences, the first: {wrong[:3]}\n{story}\n{rules}"
                )
            outcomes = oracle.outcomes()
            totals.update(
                histories=world.n_histories, deliveries=sum(map(len, world.batches)), batches=len(world.batches),
                outcomes=len(outcomes), orphans=len(oracle.orphans()), **oracle.counts,
            )  # fmt: skip
            totals.update(f"state_{outcome.state}" for _, outcome in outcomes.values())
            say(f"pass {number} ({path}): {totals['histories']} histories, {totals['deliveries']} deliveries, "
                f"{totals['outcomes']} outcomes, {time.monotonic() - began:.0f} s")  # fmt: skip
    finally:
        if store.is_shared:
            store.command(f"DROP DATABASE upshot_soak_{os.getpid()} SYNC")
        store.close()
    return {"seed": seed, "seconds": round(time.monotonic() - began, 1), **totals}


def main() -> int:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--histories", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    parser.add_argument("--clickhouse", default="", help="URL of a ClickHouse server, or `own`: one started for this")
    parser.add_argument(
        "--per-pass", type=int, default=PER_PASS, help="histories that are delivered together [default: 500]"
    )
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    say = (
        (lambda text: print(text, file=sys.stderr, flush=True))
        if asked.json
        else (lambda text: print(text, flush=True))
    )
    with tempfile.TemporaryDirectory(prefix="upshot-soak-") as folder, contextlib.ExitStack() as stack:
        url = asked.clickhouse
        if url == "own":
            server = RunningClickHouse(Path(folder))
            server.start()
            stack.callback(server.stop)
            url = server.url

        def open_store() -> Store:
            name = f"upshot_soak_{os.getpid()}"
            store = Store.open_server(url, name) if url else Store.open_embedded(Path(folder))
            store.migrate("upshot_joiner.store.schema")
            return store

        say(f"seed {asked.seed}")
        try:
            totals = run(open_store, asked.seed, asked.histories, asked.per_pass, say)
        except AssertionError as error:
            print(error)
            return 1
    print(json.dumps(totals))
    return 0


if __name__ == "__main__":
    sys.exit(main())
