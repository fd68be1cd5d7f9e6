"""``upshot replay``: over HTTP page by page from quarantine, or from the topic of dead letters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from upshot_joiner.errors import Problem
from upshot_joiner.intake.kafka.client import KafkaWriter, messages_until_now
from upshot_joiner.intake.kafka.contract import DEAD
from upshot_joiner.intake.kafka.resend import WantedLetters, open_letters, resend
from upshot_server.client import ServerClient
from upshot_server.work import kafka_address


@dataclass(frozen=True, slots=True)
class Choice:
    """Which refused events; empty means any. Times are RFC 3339 with an offset."""

    code: str = ""
    model: str = ""
    kind: str = ""
    start: str | None = None
    end: str | None = None


def from_quarantine(
    server: ServerClient, choice: Choice, dry_run: bool, progress: Callable[[int], None]
) -> dict[str, Any]:
    """All pages; the counts of all."""
    total = Counter[str]()
    refused, unfit = Counter[str](), Counter[str]()
    asked = {name: value for name, value in asdict(choice).items() if value} | {"dry_run": dry_run}
    while True:
        page = server.post("/v1/quarantine/replay", asked)
        total.update({name: page[name] for name in ("found", "replayed")})
        refused.update(page["refused"])
        unfit.update(page["unfit"])
        progress(total["found"])
        if page["next"] is None:
            break
        asked["after"] = page["next"]
    return {"found": total["found"], "replayed": total["replayed"], "refused": dict(refused), "unfit": dict(unfit)}


def from_dead(
    kafka: str, password: str, choice: Choice, dry_run: bool, progress: Callable[[int], None]
) -> dict[str, Any]:
    """All open letters; the counts."""
    wanted = WantedLetters(choice.code, choice.model, choice.kind, _moment(choice.start), _moment(choice.end))
    address = kafka_address(kafka)
    letters = open_letters(messages_until_now(address, password, DEAD))
    writer = KafkaWriter(address, password)
    try:
        result = resend(letters, wanted, writer, dry_run=dry_run, progress=progress)
    finally:
        writer.close(5)
    return {"found": result.found, "sent": result.sent, "again": result.again, "unfit": dict(result.unfit)}


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise Problem(422, "invalid_time", "A time must be like 2026-11-28T12:00:00Z, with its offset.")
    return moment
