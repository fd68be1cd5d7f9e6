"""The books of the server: what came in, what is stored, and whether both are the same. Served as ``GET /v1/books``.

Three balances, each exact once nothing is on its way:

- intake, since the start: received = accepted + duplicates + rejected + not stored + waiting;
- store: predictions in the spine = typed rows; label events = joined + listed as orphans; label events of
  entities = attributed + listed as orphans;
- writers: of each, every number is received, explained, waited for or said to be lost (``writers/books.py``).
"""

from __future__ import annotations

from typing import Any

from upshot_joiner.clock import to_micros
from upshot_joiner.intake.committer import Committer
from upshot_joiner.join import orphans
from upshot_joiner.join.attributed import NEVER
from upshot_joiner.join.joiner import Joiner
from upshot_joiner.store.client import Store
from upshot_joiner.store.served import ServedTables
from upshot_joiner.verify.ranges import ranges
from upshot_joiner.writers.answers import WriterAnswers

BARRIER_TIMEOUT_S = 30

_UNTIL = "received_at <= fromUnixTimestamp64Micro({until:Int64}, 'UTC')"
_SPINE = f"SELECT count() FROM predictions FINAL WHERE {_UNTIL}"
_TYPED = f"SELECT count() FROM %s FINAL WHERE {_UNTIL}"
_EVENTS = "SELECT count() FROM label_events FINAL"
_ENTITY_EVENTS = "SELECT count() FROM entity_label_events FINAL"
_ATTRIBUTED = f"""
SELECT uniqExact(entity_key, label_id) FROM attributions FINAL WHERE withdrawn_at = toDateTime64('{NEVER}', 6, 'UTC')
"""
_ENTITY_ORPHANS = "SELECT count() FROM orphans FINAL WHERE waiting AND request_id = ''"
_QUARANTINED = "SELECT kind, code, count() FROM quarantine GROUP BY kind, code ORDER BY kind, code"


class Conservation:
    """Counts the whole store when it is asked: seconds for every ten million events."""

    def __init__(
        self, store: Store, served: ServedTables, committer: Committer, joiner: Joiner, writers: WriterAnswers
    ) -> None:
        self._store = store
        self._served = served
        self._committer = committer
        self._joiner = joiner
        self._writers = writers

    def books(self) -> dict[str, Any]:
        """All counts, and the ``differences`` between those that should be equal; ``balances`` when there are none.

        While events are on their way (``requests_to_join``), label events may be neither joined nor listed yet.
        """
        until = {"until": to_micros(self._committer.barrier().result(BARRIER_TIMEOUT_S))}
        intake = self._committer.tally.told()
        predictions = typed = events = joined = listed = 0
        of_entities = attributed = unattributed = 0
        quarantined: dict[str, dict[str, int]] = {}
        for shard in self._store.shards:
            predictions += int(shard.query(_SPINE, until)[0][0])
            typed += sum(int(shard.query(_TYPED % table, until)[0][0]) for table in self._served.tables())
            for first, last in ranges(shard):
                counts = orphans.count(shard, first, last)
                events, joined, listed = events + counts.events, joined + counts.joined, listed + counts.listed
            of_entities += int(shard.query(_ENTITY_EVENTS)[0][0])
            attributed += int(shard.query(_ATTRIBUTED)[0][0])
            unattributed += int(shard.query(_ENTITY_ORPHANS)[0][0])
            for kind, code, n in shard.query(_QUARANTINED):
                of_kind = quarantined.setdefault(kind, {})
                of_kind[code] = of_kind.get(code, 0) + int(n)
        writers = self._writers.all(limit=1)["totals"]
        accounted = sum(writers["explained"].values()) + sum(writers["waiting"].values()) + writers["unexplained"]
        differences = [
            {"what": what, "left": left, "right": right}
            for what, left, right in (
                *((f"{kind} events received and accounted for", n["received"], _sum(n)) for kind, n in intake.items()),
                ("predictions and typed rows", predictions, typed),
                ("label events, and those joined or listed as orphans", events, joined + listed),
                (
                    "label events of entities, and those attributed or listed as orphans",
                    of_entities,
                    attributed + unattributed,
                ),
                (
                    "numbers that writers gave out and accounted for",
                    writers["next_seq"],
                    writers["received"] + accounted,
                ),
            )
            if left != right
        ]
        return {
            "balances": not differences,
            "differences": differences,
            "intake": intake,
            "stored": {
                "predictions": predictions,
                "typed_rows": typed,
                "label_events": events,
                "joined": joined,
                "orphans": listed,
                "entity_label_events": of_entities,
                "attributed": attributed,
                "entity_orphans": unattributed,
                "quarantined": quarantined,
            },
            "writers": writers,
            "requests_to_join": self._joiner.behind,
        }


def _sum(counts: dict[str, int]) -> int:
    return sum(n for name, n in counts.items() if name != "received")
