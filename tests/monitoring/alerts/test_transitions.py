"""ok, firing and back: each incident is told once, and what is not known changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from upshot_monitoring.alerts.transitions import Policy, State, begin, end, step

T0 = datetime(2026, 3, 1, tzinfo=UTC)
AT_ONCE = Policy()
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class Look:
    """One look: after how long, what it found, and what hindered."""

    after: timedelta
    holds: bool | None
    gap: bool = False
    muted: bool = False


def played(looks: list[Look], policy: Policy) -> list[tuple[datetime, Look, State, list[str]]]:
    state, now = begin(T0), T0
    story = []
    for look in looks:
        now += look.after
        state, told = step(state, look.holds, now, policy, gap=look.gap, muted=look.muted)
        story.append((now, look, state, list(told)))
    return story


def words(found: list[bool | None], policy: Policy = AT_ONCE) -> list[str]:
    """What is told over looks a minute apart."""
    return [word for *_, told in played([Look(MINUTE, one) for one in found], policy) for word in told]


def test_each_transition_is_told_once() -> None:
    assert words([False, True, True, False, False, True]) == ["firing", "resolved", "firing"]


def test_unknown_neither_fires_nor_resolves() -> None:
    assert words([None, True, None, None, True, None, False, None]) == ["firing", "resolved"]
    assert played([Look(MINUTE, None)], Policy())[-1][2].word == "unknown"
    assert played([Look(MINUTE, True), Look(MINUTE, None)], Policy())[-1][2].word == "firing"


def test_for_asks_for_every_look_in_it() -> None:
    patient = Policy(for_=3 * MINUTE)
    assert words([True] * 3, patient) == []
    assert words([True] * 4, patient) == ["firing"]
    assert words([True, True, False, True, True, True], patient) == []
    assert words([True, True, None, True, True, True], patient) == []


def test_keep_for_asks_for_every_look_in_it() -> None:
    patient = Policy(keep_for=3 * MINUTE)
    assert words([True, False, False, True, False, False, False], patient) == ["firing"]
    assert words([True, False, False, False, False], patient) == ["firing", "resolved"]


def test_a_firing_alert_is_told_again_after_a_while() -> None:
    assert words([True] * 7, Policy(repeat=3 * MINUTE)) == ["firing", "repeat", "repeat"]


def test_what_is_not_known_for_long_is_told_once_where_that_is_wanted() -> None:
    wanted = Policy(unknown_after=2 * MINUTE)
    assert words([False, None, None, None, None, False, None], wanted) == ["unknown", "known"]
    assert words([None] * 9) == []


def test_a_muted_incident_is_told_when_the_mute_ends_and_not_at_all_when_it_was_over_by_then() -> None:
    def told(holds: list[bool], muted: list[bool]) -> list[str]:
        looks = [Look(MINUTE, one, muted=quiet) for one, quiet in zip(holds, muted, strict=True)]
        return [word for *_, some in played(looks, Policy()) for word in some]

    assert told([True, True, True, False], [True, True, False, False]) == ["firing", "resolved"]
    assert told([True, True, False], [True, True, False]) == []
    assert told([True, False], [False, True]) == ["firing", "resolved"]


def test_a_gap_and_a_clock_that_jumps_back_begin_the_wait_anew() -> None:
    patient = Policy(for_=3 * MINUTE)
    held = [Look(MINUTE, True)] * 3
    assert played([*held, Look(MINUTE, True, gap=True)], patient)[-1][3] == []
    assert played([*held, Look(-timedelta(hours=1), True)], patient)[-1][3] == []
    assert played([*held, Look(-timedelta(hours=1), True), *held], patient)[-1][3] == ["firing"]
    assert played([*held, Look(timedelta(days=400), True)], patient)[-1][3] == ["firing"]


def test_a_rule_that_is_gone_has_ended() -> None:
    state = played([Look(MINUTE, True)], Policy())[-1][2]
    ended, told = end(state, T0 + 5 * MINUTE)
    assert (ended.phase, told) == ("ok", ["resolved"])
    assert end(begin(T0), T0)[1] == []


lengths = st.integers(0, 5).map(lambda n: n * MINUTE)
looks = st.lists(
    st.builds(
        Look,
        st.one_of(st.integers(0, 3).map(lambda n: n * MINUTE), st.sampled_from([-60 * MINUTE, 5000 * MINUTE])),
        st.sampled_from([True, True, False, False, None]),
        st.booleans(),
        st.booleans(),
    ),
    max_size=40,
)


@given(looks=looks, policy=st.builds(Policy, lengths, lengths, lengths, lengths))
def test_whatever_is_found_the_story_makes_sense(looks: list[Look], policy: Policy) -> None:
    """Firing and resolved alternate; nothing fires that was not seen to hold at every look for as long as asked, nothing resolves
    that was not seen to be over for as long as asked; of a muted rule only its end is told."""
    story = played(looks, policy)
    heard = [word for *_, told in story for word in told if word in ("firing", "resolved")]
    assert heard == ["firing", "resolved"] * (len(heard) // 2) + ["firing"] * (len(heard) % 2)
    assert story == [] or story[-1][2].told == sum(len(told) for *_, told in story)

    def lasted(i: int, holds: bool) -> timedelta:
        """For how long every look up to this one found the same, without a gap or a jump back."""
        first = i
        while first > 0 and story[first - 1][1].holds is holds and not story[first][1].gap:
            if story[first][0] < story[first - 1][0]:
                break
            first -= 1
        return story[i][0] - story[first][0]

    phase = "ok"
    for i, (_, look, state, told) in enumerate(story):
        if state.phase == "firing" and phase != "firing":
            assert look.holds is True
            assert lasted(i, True) >= policy.for_
        if state.phase != "firing" and phase == "firing":
            assert look.holds is False
            assert lasted(i, False) >= policy.keep_for
        if look.muted:
            assert not {"firing", "repeat", "unknown"} & set(told)
        if look.holds is None:
            assert (state.phase == "firing") == (phase == "firing")
        phase = state.phase
