"""From another system's delivery to stored label events: check, decode, map, store, count, answer; and once more at a replay."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs

import msgspec

from upshot_joiner.clock import Clock, Stamper, from_micros
from upshot_joiner.errors import Place, Problem, StoreUnavailable
from upshot_joiner.intake.batch import Answer
from upshot_joiner.intake.body import decompress, whole
from upshot_joiner.intake.check import CheckedLabel
from upshot_joiner.intake.committer import Committer
from upshot_joiner.intake.grouped import Grouped
from upshot_joiner.intake.receive import Received, Receiver
from upshot_joiner.intake.webhooks.access import wrong_signature
from upshot_joiner.intake.webhooks.bodies import MAX_WAITING, Bodies, Body, listed
from upshot_joiner.intake.webhooks.mapping import MAX_PLACES, Mapped
from upshot_joiner.intake.webhooks.mapping import Mapping as LabelMapping
from upshot_joiner.intake.webhooks.signatures import is_genuine
from upshot_joiner.intake.webhooks.source import Unsigned, read_mapping
from upshot_joiner.intake.webhooks.sources import Source, Sources
from upshot_joiner.intake.webhooks.standard import Headers
from upshot_joiner.store.client import Store

MAX_HOOK_BYTES = 1024 * 1024
"""Of a delivery, as sent and decompressed: senders keep theirs under 20 kB, as Standard Webhooks asks."""
REPLAY_PAGE = 50
"""Bodies in memory at once."""
MAX_SHOWN = 20
"""Bodies in one answer with their text."""
COMMIT_TIMEOUT_S = 60

WAYS = ("mapped", "filtered", "unmapped", "rejected")
"""What becomes of a delivery; each is in exactly one of them."""


@dataclass
class Taken:
    """What became of a delivery that was taken."""

    answer: Answer
    filtered: int = 0
    unmapped: list[Place] = field(default_factory=list)


class Hooks:
    """Owns the sources. ``store`` belongs to an event loop, everything else may be called from any thread.

    Label events of a delivery go where those of ``POST /v1/labels`` go, to the store or to Kafka. What waits for a mapping is in
    the store, and so a replay stores what it makes, by ``committer``.
    """

    def __init__(
        self,
        store: Store,
        stamper: Stamper,
        clock: Clock,
        receiver: Receiver,
        committer: Committer,
        sources: Sources,
        *,
        exposed: bool,
    ) -> None:
        self._clock = clock
        self._receiver = receiver
        self._committer = committer
        self._sources = sources
        self._exposed = exposed
        self._bodies = Bodies(store, stamper)
        self._writes: Grouped[tuple[Body | None, Counter[tuple[str, str]]], None] = Grouped(
            "upshot-hooks", self._written
        )
        self._replaying = threading.Lock()

    def start(self) -> None:
        """Begin to take deliveries."""
        self._writes.start()

    def close(self) -> None:
        """Store what is under way, then stop."""
        self._writes.close()
        self._bodies.flush()

    # -- configuration -------------------------------------------------------------------------------------------------

    def configure(self, name: str, raw: Any) -> dict[str, Any]:
        """Put a source's configuration in force, and show it. Raises a 422 :class:`Problem`."""
        signature = raw.get("signature") if isinstance(raw, dict) else None
        if self._exposed and isinstance(signature, dict) and signature.get("scheme") == "none":
            raise _needs_signature()
        return self._described(self._sources.put(name, raw))

    def names(self) -> list[str]:
        """Every source."""
        return self._sources.names()

    def state(self, name: str, limit: int = 100, with_text: bool = False) -> dict[str, Any]:
        """A source: its configuration, what became of what it sent, and what waits for a mapping."""
        source = self._sources.get(name)
        counts = self._bodies.counts(name)
        waiting, size, oldest = self._bodies.state(name)
        ways = {way: counts.get(way, 0) for way in WAYS}
        return {
            **self._described(source),
            "counts": {"received": sum(ways.values()), **ways},
            "events": {what: counts.get(what, 0) for what in ("accepted", "duplicates", "refused")},
            "waiting": {"bodies": waiting, "bytes": size, "oldest": oldest, "replayed": counts.get("replayed", 0)},
            "bodies": listed(self._bodies.waiting(name, min(limit, MAX_SHOWN) if with_text else limit), with_text),
        }

    def preview(self, name: str, raw: Any) -> dict[str, Any]:
        """The label events that a body would become, by the mapping given or the one in force. Stores nothing."""
        if not isinstance(raw, dict) or "body" not in raw or not raw.keys() <= {"body", "headers", "mapping"}:
            raise _invalid("$", "wrong_type")
        headers = raw.get("headers", {})
        if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
            raise _invalid("headers", "wrong_type")
        made = LabelMapping(name, read_mapping(raw["mapping"])) if "mapping" in raw else self._sources.get(name).mapping
        mapped = made.apply(raw["body"], {key.lower(): value for key, value in headers.items()})
        return {
            "events": [{"index": index, **_shown(event)} for index, event in mapped.events],
            "filtered": mapped.filtered,
            "errors": mapped.unmapped[:MAX_PLACES],
            "unmapped": len(mapped.unmapped),
        }

    # -- deliveries ----------------------------------------------------------------------------------------------------

    def open_to(self, name: str) -> Source:
        """The source that a delivery is for, before its body is read. Raises a :class:`Problem`."""
        source = self._sources.get(name)
        if self._exposed and isinstance(source.config.signature, Unsigned):
            raise _needs_signature()
        return source

    def refused(self, source: Source) -> None:
        """Count a delivery that was not taken."""
        self._bodies.note(source.name, "rejected")

    def map(self, source: Source, headers: Headers, body: bytes) -> tuple[Mapped, Body]:
        """Check the signature, decode and map; takes up to a second for a hostile body. Raises a :class:`Problem`."""
        if not is_genuine(source.config.signature, self._sources.secrets(source), headers, body, self._clock.now()):
            raise wrong_signature()
        text, content = decode(body, _first(headers, "content-type"), _first(headers, "content-encoding"))
        wanted = {name: headers[name][0] for name in source.config.mapping.headers if headers.get(name)}
        mapped = source.mapping.apply(content, wanted)
        if mapped.unmapped:
            self._bodies.check_room()
        return mapped, Body(source.name, text, wanted, mapped.unmapped[:MAX_PLACES])

    async def store(self, source: Source, mapped: Mapped, body: Body) -> Taken:
        """Store what was mapped (or have Kafka take it), keep what was not, and count; all of it is on disk when this returns.

        Where Kafka has the events and nothing else is to be kept, a store that is away only delays the counts.
        """
        answer = Answer()
        if mapped.events:
            answer = await asyncio.wrap_future(self._receiver.submit_labels(Received(mapped.events, [])))
        way = "unmapped" if mapped.unmapped else "mapped" if mapped.events else "filtered"
        counts = _counted(source.name, answer)
        counts[source.name, way] += 1
        try:
            await asyncio.wrap_future(self._writes.submit((body if mapped.unmapped else None, counts)))
        except StoreUnavailable:
            if mapped.unmapped or not self._receiver.takes_without_store:
                raise
            for (name, what), n in counts.items():
                self._bodies.note(name, what, n)
        return Taken(answer, mapped.filtered, mapped.unmapped)

    # -- replay --------------------------------------------------------------------------------------------------------

    def replay(self, name: str) -> dict[str, Any]:
        """Map everything that waits by the mapping in force, the oldest first; what it does not understand waits on."""
        source = self._sources.get(name)
        if not self._replaying.acquire(blocking=False):
            raise Problem(409, "replay_running", "A replay is running; wait for its end.")
        try:
            told: Counter[str] = Counter({"replayed": 0, "accepted": 0, "duplicates": 0, "rejected": 0, "filtered": 0})
            last: Body | None = None
            for _ in range(MAX_WAITING // REPLAY_PAGE):  # so that it ends, whatever comes meanwhile
                page = self._bodies.waiting(name, REPLAY_PAGE, last)
                if not page:
                    break
                last = page[-1]
                told += self._replayed(source, page)
            self._bodies.forget()
            left, _, _ = self._bodies.state(name)
            return {**{what: told[what] for what in ("replayed", *_TOLD)}, "waiting": left}
        finally:
            self._replaying.release()

    def _replayed(self, source: Source, page: Sequence[Body]) -> Counter[str]:
        events: list[tuple[int, CheckedLabel]] = []
        settled, still = [], []
        filtered = 0
        for body in page:
            mapped = source.mapping.apply(msgspec.json.decode(body.text), body.headers)
            filtered += mapped.filtered
            for _, event in mapped.events:
                # A label without a time of its own was observed when it came, not when it is replayed. Set after the content
                # was hashed: when its sender repeats it, it is the same content.
                if event.observed_us is None:
                    event.observed_us = body.received_us
                events.append((len(events), event))
            if mapped.unmapped:
                still.append(replace(body, places=mapped.unmapped[:MAX_PLACES]))
            else:
                settled.append(body)
        answer = Answer()
        if events:
            answer = self._committer.submit_labels(events, []).result(COMMIT_TIMEOUT_S)
        counts = _counted(source.name, answer)
        counts[source.name, "replayed"] += len(settled)
        self._bodies.settle(settled, still, counts)
        return Counter(
            replayed=len(settled),
            accepted=answer.accepted,
            duplicates=answer.duplicates,
            rejected=answer.rejected,
            filtered=filtered,
        )

    def _described(self, source: Source) -> dict[str, Any]:
        described: dict[str, Any] = {"source": source.name, "config": self._sources.shown(source)}
        if isinstance(source.config.signature, Unsigned):
            described["warning"] = "Nothing is signed: whoever reaches this server can send labels as this source."
        return described

    def _written(self, group: Sequence[tuple[Body | None, Counter[tuple[str, str]]]]) -> list[None]:
        counts: Counter[tuple[str, str]] = Counter()
        for _, counted in group:
            counts += counted
        self._bodies.add([body for body, _ in group if body is not None], counts)
        return [None] * len(group)


_TOLD = ("accepted", "duplicates", "rejected", "filtered")


def decode(body: bytes, form: str, encoding: str) -> tuple[str, Any]:
    """The JSON text of a delivery, and what it says. Raises a :class:`Problem`: 400, 413 or 415.

    JSON is JSON whatever its content type claims, but for forms: GitHub, unless told otherwise, sends one field named ``payload``.
    """
    plain = whole(decompress(body, encoding, MAX_HOOK_BYTES))
    media_type = form.partition(";")[0].strip().lower()
    if media_type == "application/x-www-form-urlencoded":
        plain = _payload(plain)
    elif media_type and "json" not in media_type:
        raise Problem(
            415,
            "unsupported_media_type",
            "A delivery is JSON, or a form with JSON in its field `payload`.",
            [{"loc": "header.content-type", "code": "unsupported"}],
        )
    try:
        return plain.decode(), msgspec.json.decode(plain)
    except RecursionError:
        code = "too_deep"
    except UnicodeDecodeError:
        code = "invalid_unicode"
    except msgspec.DecodeError:
        code = "invalid_json"
    status = "too_deep" if code == "too_deep" else "invalid_json"
    raise Problem(400, status, "The body is not JSON in UTF-8.", [{"loc": "body", "code": code}])


def _payload(plain: bytes) -> bytes:
    try:
        fields = parse_qs(plain.decode("ascii"), strict_parsing=True, max_num_fields=10, errors="strict")
        [payload] = fields["payload"]
    except (ValueError, KeyError):
        raise Problem(
            400, "invalid_form", "The form has no field `payload`.", [{"loc": "body", "code": "invalid_form"}]
        ) from None
    return payload.encode()


def _counted(source: str, answer: Answer) -> Counter[tuple[str, str]]:
    counted = {"accepted": answer.accepted, "duplicates": answer.duplicates, "refused": answer.rejected}
    return Counter({(source, what): n for what, n in counted.items()})


def _shown(event: CheckedLabel) -> dict[str, Any]:
    """A label event as it would be stored; without ``observed_at``, that is the moment it comes."""
    shown: dict[str, Any] = msgspec.to_builtins(event.event)
    shown.setdefault("name", event.event.name)
    shown.setdefault("op", event.event.op)
    shown["label_id"] = event.label_id
    if event.observed_us is not None:
        shown["observed_at"] = from_micros(event.observed_us)
    return shown


def _first(headers: Mapping[str, Sequence[str]], name: str) -> str:
    values = headers.get(name, ())
    return values[0] if values else ""


def _invalid(loc: str, code: str) -> Problem:
    return Problem(422, "invalid_request", "The request has errors.", [{"loc": loc, "code": code}])


def _needs_signature() -> Problem:
    return Problem(
        403,
        "signature_required",
        "A source without a signature is for senders on this machine, and this server listens to others.",
        [{"loc": "signature.scheme", "code": "not_allowed"}],
    )
