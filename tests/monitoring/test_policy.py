"""Off-policy estimates on simulated bandits, whose truth is known."""

from __future__ import annotations

import doctest
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from tests.monitoring.conftest import START, Flywheel
from upshot_joiner.errors import Problem
from upshot_monitoring.policy import estimators
from upshot_monitoring.policy.answers import Asked
from upshot_monitoring.policy.estimators import evaluate
from upshot_monitoring.policy.reward_model import predictions, tenths

ACTIONS = ("a", "b", "c")


class Bandit:
    """Rewards of 0 or 1 that depend on a score and the action; the log prefers what it takes for good."""

    def __init__(self, rows: int, seed: int, epsilon: float = 0.3) -> None:
        rng = np.random.default_rng(seed)
        self.score = rng.random(rows)
        self.chance = np.stack([0.1 + 0.3 * self.score, np.full(rows, 0.25), 0.4 - 0.3 * self.score], axis=1)
        favourite = np.where(self.score > 0.5, 0, 1)
        policy = np.full((rows, 3), epsilon / 3)
        policy[np.arange(rows), favourite] += 1 - epsilon
        self.logged = (rng.random(rows)[:, None] > np.cumsum(policy, axis=1)).sum(axis=1)
        self.propensity = policy[np.arange(rows), self.logged]
        self.reward = (rng.random(rows) < self.chance[np.arange(rows), self.logged]).astype(float)
        self.half = rng.random(rows) < 0.5
        self.best = np.where(self.score > 0.5, 0, 2)

    def value(self, target: Any) -> float:
        """The truth: over all scores."""
        whole = Bandit.__new__(Bandit)
        grid = (np.arange(100_000) + 0.5) / 100_000
        whole.score = grid
        chance = np.stack([0.1 + 0.3 * grid, np.full(100_000, 0.25), 0.4 - 0.3 * grid], axis=1)
        chosen = np.where(grid > 0.5, 0, 2) if target is None else np.full(100_000, target)
        return float(chance[np.arange(100_000), chosen].mean())

    def evaluate(self, target: Any) -> estimators.Evaluation:
        """What the log says of a policy: of an action, or (None) of the best one."""
        rows = len(self.score)
        chosen = self.best if target is None else np.full(rows, target)
        of_target, of_logged = predictions(
            self.logged, chosen, tenths(self.score), self.reward, np.ones(rows), self.half, 3
        )
        return evaluate(self.logged == chosen, self.propensity, self.reward, np.ones(rows), of_target, of_logged)


@pytest.mark.parametrize("target", [None, 0, 2], ids=["the best", "always a", "always c"])
def test_the_intervals_of_a_policy_hold_its_true_value(target: int | None) -> None:
    """In 93 to 97 of 100 simulated logs, by all three estimators, none of them biased; the naive mean reward is far off."""
    inside = dict.fromkeys(("ips", "snips", "doubly_robust"), 0)
    values: dict[str, list[float]] = {name: [] for name in inside}
    naive, truth, rounds = [], Bandit(10, 0).value(target), 800
    refused = 0
    for k in range(rounds):
        bandit = Bandit(4_000, 1_000 + k)
        found = bandit.evaluate(target)
        if found.reason:  # once in ten thousand, chance alone looks like wrong propensities
            refused += 1
            continue
        naive.append(bandit.reward.mean() - truth)
        for name, one in found.estimates.items():
            assert one.interval is not None
            inside[name] += one.interval[0] <= truth <= one.interval[1]
            values[name].append(one.value)
    assert refused <= 1
    for name, count in inside.items():
        assert 0.93 <= count / (rounds - refused) <= 0.97, (name, count / rounds)
        assert np.mean(values[name]) == pytest.approx(truth, abs=0.004), name
    if target is None:
        assert abs(np.mean(naive)) > 0.04
    assert np.std(values["doubly_robust"]) < np.std(values["ips"])


def test_no_number_where_the_overlap_is_thin() -> None:
    """An action that was hardly ever chosen, one that never was, propensities that are wrong."""
    bandit = Bandit(1_000, 1, epsilon=0.003)
    assert bandit.evaluate(2).reason in ("thin_overlap", "never_logged")
    assert bandit.evaluate(2).estimates == {}
    ones = np.ones(1_000)
    assert evaluate(np.zeros(1_000, bool), ones, ones, ones).reason == "never_logged"
    matches = np.random.default_rng(1).random(1_000) < 0.5
    assert evaluate(matches, ones * 0.25, ones, ones).reason == "propensities_do_not_add_up"
    assert evaluate(matches, ones * 0.5, ones, ones).reason == ""
    assert evaluate(matches[:0], ones[:0], ones[:0], ones[:0]).reason == "no_rows"


def test_effective_rows_are_those_of_kish() -> None:
    """(sum of weights)^2 over the sum of squared weights."""
    found = evaluate(np.array([True] * 400 + [False] * 100), np.repeat([0.8, 0.8], 250), np.ones(500), np.ones(500))
    assert found.effective_rows == pytest.approx(400)
    assert (found.rows, found.matched) == (500, 400)


def serve(flywheel: Flywheel, bandit: Bandit, keep: Any) -> None:
    """The kept part of a log, and what version 2 would have done."""
    flywheel.configure(labels={"y": {"window": "1h", "default": 0}})
    kept = [i for i in range(len(bandit.score)) if keep[i]]
    common = [{"request_id": f"{flywheel.model}-{i}", "features": {}, "at": START} for i in kept]
    flywheel.serve(
        {
            **one,
            "prediction": float(bandit.score[i]),
            "action": ACTIONS[bandit.logged[i]],
            "propensity": float(bandit.propensity[i]),
            "keep_probability": 0.5 if bandit.score[i] < 0.5 else 1.0,
        }
        for one, i in zip(common, kept, strict=True)
    )
    flywheel.serve(
        (
            {**one, "prediction": 0.5, "action": ACTIONS[bandit.best[i]], "shown": False}
            for one, i in zip(common, kept, strict=True)
        ),
        version="2",
    )
    flywheel.label({f"{flywheel.model}-{i}": 1 for i in kept if bandit.reward[i]})


def test_policies_of_the_store_are_valued_on_a_sampled_log(flywheel: Flywheel) -> None:
    """Each action, and another version by its own choices; half of the low scores were not logged, and weights undo it."""
    bandit = Bandit(8_000, 3)
    keep = (bandit.score >= 0.5) | (np.random.default_rng(4).random(8_000) < 0.5)
    serve(flywheel, bandit, keep)
    each = flywheel.monitor.policy(flywheel.model, Asked(version="1"))
    assert each["rows"] == int(keep.sum())
    assert {policy["action"] for policy in each["policies"]} == set(ACTIONS)
    weight = np.where(bandit.score < 0.5, 2.0, 1.0)[keep]
    assert each["logged"]["value"] == pytest.approx(np.average(bandit.reward[keep], weights=weight))
    for policy in each["policies"]:
        truth = bandit.value(ACTIONS.index(policy["action"]))
        for name in ("ips", "snips", "doubly_robust"):
            low, high = policy["intervals"][name]
            assert abs(policy["estimates"][name] - truth) < 3 / 1.96 * (high - low) / 2, (policy["action"], name)
    [best] = flywheel.monitor.policy(flywheel.model, Asked(version="1", target="2"))["policies"]
    low, high = best["intervals"]["doubly_robust"]
    assert abs(best["estimates"]["doubly_robust"] - bandit.value(None)) < 3 / 1.96 * (high - low) / 2
    assert low > each["logged"]["value"]
    matched = (bandit.logged == bandit.best)[keep]
    rho = weight * matched / bandit.propensity[keep]
    assert best["estimates"]["snips"] == pytest.approx(float(rho @ bandit.reward[keep] / rho.sum()))
    assert best["effective_rows"] == pytest.approx(rho.sum() ** 2 / (rho @ rho))


def test_only_matured_rows_are_rewards(flywheel: Flywheel) -> None:
    """Before the window has closed nothing is known, whatever is labelled."""
    bandit = Bandit(300, 5)
    serve(flywheel, bandit, np.ones(300, bool))
    flywheel.clock.set(START + timedelta(minutes=30))
    assert flywheel.monitor.policy(flywheel.model, Asked())["rows"] == 0
    with pytest.raises(Problem):
        flywheel.monitor.policy(flywheel.model, Asked(version="1", target="1"))


def test_the_example_of_the_estimators_is_true() -> None:
    """What the docstring prints."""
    found = doctest.testmod(estimators)
    assert found.attempted > 0
    assert found.failed == 0
