"""How far each named pull has read its database."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Response

from upshot_joiner.intake.pulls import Pulls
from upshot_server.routes.answers import json_answer


def router(pulls: Pulls) -> APIRouter:
    """The routes about pulls."""
    routes = APIRouter(tags=["pulls"])

    @routes.get("/v1/pulls", summary="All pulls")
    def get_pulls() -> Response:
        """Every pull with the watermark it has noted."""
        return json_answer({"pulls": pulls.all()})

    @routes.get("/v1/pulls/{name:path}", summary="One pull")
    def get_pull(name: str) -> Response:
        """The watermark it has noted."""
        return json_answer(pulls.one(name))

    @routes.put("/v1/pulls/{name:path}", summary="Note how far a pull is")
    def put_pull(name: str, content: Annotated[Any, Body()]) -> Response:
        """Answered when the note is stored; the last one counts."""
        return json_answer(pulls.note(name, content))

    return routes
