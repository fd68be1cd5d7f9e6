"""What an operator knows of the feed that brings a label."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Response

from upshot_joiner.errors import unknown_model
from upshot_joiner.feed.feeds import FeedStatement
from upshot_server.parts import Parts
from upshot_server.routes.answers import json_answer


def router(parts: Parts) -> APIRouter:
    """The route about label feeds; their state is in the answer about labels."""
    routes = APIRouter(tags=["models"])

    @routes.post("/v1/models/{model:path}/labels/{name:path}/feed", summary="Say when a label feed was silent")
    def post_feed(model: str, name: str, said: Annotated[FeedStatement, Body()]) -> Response:
        """Open, close or declare void a silence of the feed. Recorded with its moment; what was known before stays known."""
        if not parts.knows(model):
            raise unknown_model()
        return json_answer(parts.feeds.state(model, name, said))

    return routes
