"""Routes of alerts: where rules stand, what fires, asking whether rules hold, trying a channel, muting."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Body, Response
from pydantic import BaseModel, ConfigDict, Field

from upshot_joiner.errors import unknown_model
from upshot_server.parts import Parts
from upshot_server.routes.answers import json_answer
from upshot_server.routes.moments import duration


class Check(BaseModel):
    """Rules to look at now; none: those of the configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rules: list[str] = []
    min_rows: Annotated[int, Field(ge=0, le=10**12)] | None = None


class ChannelTest(BaseModel):
    """Which channel to try."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    channel: Annotated[str, Field(max_length=64)]


class MuteRule(BaseModel):
    """Which rule not to hear of, and for how long; ``0s`` ends that."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rule: str
    duration: Annotated[str, Field(alias="for", max_length=20)]
    reason: Annotated[str, Field(max_length=1000)] = ""


def router(parts: Parts) -> APIRouter:
    """The routes of alerts."""
    routes = APIRouter(tags=["alerts"])

    def known(model: str) -> None:
        if not parts.knows(model):
            raise unknown_model()

    @routes.get("/v1/alerts", summary="What fires")
    def get_alerts() -> Response:
        """What fires and what cannot be told, of every model; the channels; whether evaluation works."""
        return json_answer(parts.alerts.answers.all())

    @routes.post("/v1/alerts/test", summary="Try a channel")
    def post_test(test: Annotated[ChannelTest, Body()]) -> Response:
        """Send a test message now, and say what became of it."""
        return json_answer(parts.alerts.test(test.channel))

    @routes.get("/v1/models/{model:path}/alerts", summary="The rules of a model")
    def get_of_model(model: str) -> Response:
        """Where each rule stands, since when, on what that rests, and what went out."""
        known(model)
        return json_answer(parts.alerts.answers.of_model(model))

    @routes.post("/v1/models/{model:path}/alerts/check", summary="Whether rules hold now")
    def post_check(model: str, check: Annotated[Check, Body()]) -> Response:
        """Looks at rules of the request, or at those of the configuration. Changes nothing and tells nobody."""
        known(model)
        return json_answer(parts.alerts.ask(model, check.rules, check.min_rows))

    @routes.post("/v1/models/{model:path}/alerts/mute", summary="Tell nobody of a rule for a while")
    def post_mute(model: str, mute: Annotated[MuteRule, Body()]) -> Response:
        """What fires meanwhile and still does afterwards is told then."""
        known(model)
        length = duration(mute.duration, "for", least=timedelta(0)) or timedelta(0)
        return json_answer(parts.alerts.mute(model, mute.rule, length, mute.reason))

    return routes
