"""``POST /v1/quarantine/replay``: refused events through the intake again."""

from __future__ import annotations

import json

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from upshot_joiner.errors import Problem
from upshot_joiner.intake.body import read_body
from upshot_joiner.intake.receive import Receiver
from upshot_joiner.intake.replay import Replayer, read_wanted
from upshot_server.parts import Parts
from upshot_server.routes.answers import json_answer

_MAX_BODY_BYTES = 16 * 1024


def router(parts: Parts) -> APIRouter:
    """The route that replays."""
    routes = APIRouter(tags=["events"])

    @routes.post("/v1/quarantine/replay", summary="Send refused events through the intake again")
    async def replay(request: Request) -> Response:
        """One page of entries, chosen by ``code``, ``model``, ``kind``, ``start``, ``end``; what is taken is marked."""
        body = await read_body(request.stream(), request.headers.get("content-length"), _MAX_BODY_BYTES)
        try:
            asked = json.loads(body or b"{}")
        except (ValueError, RecursionError):
            raise Problem(
                400, "invalid_json", "The body is not JSON.", [{"loc": "body", "code": "invalid_json"}]
            ) from None
        wanted, dry_run = read_wanted(asked)
        replayer = Replayer(parts.store, Receiver(parts.line.committer), parts.clock)
        result = await run_in_threadpool(replayer.replay, wanted, dry_run=dry_run)
        return json_answer(
            {
                "found": result.found,
                "replayed": result.replayed,
                "refused": dict(result.refused),
                "unfit": dict(result.unfit),
                "next": None if result.next is None else f"{result.next:032x}",
                "dry_run": dry_run,
            }
        )

    return routes
