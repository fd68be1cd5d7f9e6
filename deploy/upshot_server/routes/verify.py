"""Have what is stored counted again, see what came of it, and whether the books balance."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict

from upshot_joiner.errors import unknown_model
from upshot_server.parts import Parts
from upshot_server.routes.answers import json_answer


class VerifyRequest(BaseModel):
    """What to look at; without any of it, everything."""

    model_config = ConfigDict(extra="forbid")

    model: str = ""
    """The predictions and outcomes of one model."""
    since: AwareDatetime | None = None
    """Ranges of requests in which something was received after this moment."""


def router(parts: Parts) -> APIRouter:
    """The routes of the verifier."""
    routes = APIRouter(tags=["operations"])

    @routes.post("/v1/verify", status_code=202, summary="Recount and repair")
    def post_verify(asked: Annotated[VerifyRequest | None, Body()] = None) -> Response:
        """A round that begins soon; ``GET /v1/verify`` tells how far it is."""
        asked = asked or VerifyRequest()
        if asked.model and not parts.knows(asked.model):
            raise unknown_model()
        return json_answer(parts.verifier.ask(asked.model, asked.since).told(), 202)

    @routes.get("/v1/verify", summary="Recounts and repairs")
    def get_verify() -> Response:
        """The round under way, the last one, and the sums since the start."""
        return json_answer(parts.verifier.told())

    @routes.get("/v1/verify/{round_id}", summary="One recount")
    def get_round(round_id: int) -> Response:
        """One of the last hundred rounds."""
        return json_answer(parts.verifier.one(round_id).told())

    @routes.get("/v1/books", summary="Do the counts balance")
    def get_books() -> Response:
        """What came in against what is stored, exactly, once nothing is on its way."""
        return json_answer(parts.conservation.books())

    return routes
