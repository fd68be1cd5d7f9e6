"""What can be asked about feeds, and what an operator can say."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from upshot_joiner.clock import Clock, Stamper, to_micros
from upshot_joiner.errors import Place, Problem
from upshot_joiner.feed.records import FeedRecords, Run, describe, intervals
from upshot_joiner.feed.watch import FeedWatch
from upshot_joiner.intake.check import EARLIEST_US, LATEST_US
from upshot_joiner.join.silence import Change, opened_by, silence

MAX_TOLD = 100
"""How many of the newest records and stretches an answer holds."""


class FeedStatement(BaseModel):
    """``POST /v1/models/{model}/labels/{name}/feed``: what an operator knows of a feed. Times need an offset."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    action: Literal["open", "close", "void"]
    """``open``: it was silent from ``since`` (now) until ``until`` (further notice). ``close``: it is well again from ``until``
    (now) on. ``void``: between ``since`` and ``until`` (and from then on) it was not silent after all, or has caught up."""
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    reason: str = Field(default="", max_length=1000)


class Feeds:
    """Every method may be called from any thread."""

    def __init__(self, records: FeedRecords, watch: FeedWatch, clock: Clock, stamper: Stamper, run: Run) -> None:
        self._records = records
        self._watch = watch
        self._clock = clock
        self._stamper = stamper
        self._run = run

    def of_model(self, model: str, names: list[str]) -> dict[str, dict[str, Any]]:
        """State, expectation and silences of the feeds of some labels."""
        changes = self._records.of_model(model)
        return {name: self._tell(model, name, changes.get(name, [])) for name in names}

    def state(self, model: str, name: str, said: FeedStatement) -> dict[str, Any]:
        """Record what an operator says; returns the feed as it stands then. Raises a 422 or 409 :class:`Problem`."""
        now = self._clock.now()
        changes = self._records.of_model(model).get(name, [])
        since, until = said.since, said.until
        if said.action == "open":
            since = since or now
        elif said.action == "close":
            if opened_by(changes) is None:
                raise Problem(409, "feed_not_silent", "This feed is not silent; there is nothing to close.")
            if since is not None:
                raise _invalid("since", "not_allowed", "A silence is closed from `until` on; `since` has no meaning.")
            until = until or now
            if until > now:
                raise _invalid("until", "in_the_future", "A silence cannot be closed at a later moment.")
        elif since is None:
            raise _invalid("since", "missing", "Say from when on the silence is void.")
        if since is not None and until is not None and since >= until:
            raise _invalid("since", "not_before_until", "since must be before until.")
        for loc, moment in (("since", since), ("until", until)):
            if moment is not None and not EARLIEST_US <= to_micros(moment) <= LATEST_US:
                raise _invalid(loc, "out_of_range", "A moment lies between 1990 and 2200.")
        change = Change(said.action, since, until, "operator", said.reason)
        stored = self._records.append(model, name, change, self._stamper, self._run)
        return self._tell(model, name, [*changes, stored])

    def _tell(self, model: str, name: str, changes: list[Change]) -> dict[str, Any]:
        known = silence(changes)
        return {
            "state": "closed" if known.goes_on is None else "open",
            "since": None if known.goes_on is None else known.goes_on.since,
            "opened_by": opened_by(changes),
            **self._watch.describe(model, name, changes),
            "intervals": intervals(known)[-MAX_TOLD:],
            "changes": [describe(one) for one in changes[-MAX_TOLD:]],
        }


def _invalid(loc: str, code: str, title: str) -> Problem:
    places: list[Place] = [{"loc": loc, "code": code}]
    return Problem(422, "invalid_feed_statement", title, places)
