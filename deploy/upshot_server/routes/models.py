"""What is known of each model, its configuration, traffic and labels; and the story of one request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Path, Response

from upshot_joiner.config import read_config
from upshot_joiner.delays.watched import Asked
from upshot_joiner.errors import unknown_model
from upshot_server.parts import Parts
from upshot_server.routes.answers import json_answer
from upshot_server.routes.moments import Moment, Version, moment


def router(parts: Parts) -> APIRouter:
    """The routes about models and requests."""
    routes = APIRouter()

    def known(model: str) -> None:
        if not parts.knows(model):
            raise unknown_model()

    @routes.get("/v1/predictions/{request_id:path}", tags=["events"], summary="The story of a request")
    def get_story(request_id: str) -> Response:
        """Predictions as served, every label event, outcomes and states."""
        return json_answer(parts.stories.tell(request_id))

    @routes.get("/v1/entities/{type}/{id:path}", tags=["events"], summary="The story of an entity")
    def get_entity(type_: Annotated[str, Path(alias="type")], id_: Annotated[str, Path(alias="id")]) -> Response:
        """Label events that name an entity and where they went, and the predictions of it that are indexed."""
        return json_answer(parts.entity_stories.tell(type_, id_))

    @routes.get("/v1/models", tags=["models"], summary="All models")
    def get_models() -> Response:
        """Models that served or were configured, with exact counts."""
        firing = parts.alerts.answers.firing()
        return json_answer({"models": [_summary(parts, model, firing) for model in parts.models()]})

    @routes.get("/v1/models/{model:path}/labels", tags=["models"], summary="Coverage, delay, orphans, funnel")
    def get_labels(model: str, version: Version = None, start: Moment = None, end: Moment = None) -> Response:
        """How far the labels of a model have come; of one version, or of predictions of whole hours from ``start`` to ``end``."""
        known(model)
        answer = parts.coverage.labels(model, Asked(version, moment(start, "start"), moment(end, "end")))
        feeds = parts.feeds.of_model(model, [label["name"] for label in answer["labels"]])
        for label in answer["labels"]:
            label["feed"] = feeds[label["name"]]
        return json_answer(answer)

    @routes.get("/v1/models/{model:path}/traffic", tags=["models"], summary="Predictions over time")
    def get_traffic(
        model: str, bucket: Literal["hour", "day"] = "hour", start: datetime | None = None, end: datetime | None = None
    ) -> Response:
        """Predictions per version and hour or day, by ``predicted_at``; ``start`` and ``end`` need an offset."""
        known(model)
        counts: dict[tuple[datetime, str], int] = {}
        for version, served in parts.line.activity.versions(model).items():
            for hour, predictions in served.by_hour.items():
                if (start and hour < start) or (end and hour >= end):
                    continue
                key = (hour if bucket == "hour" else hour.replace(hour=0), version)
                counts[key] = counts.get(key, 0) + predictions
        points = [
            {"start": at, "version": version, "predictions": predictions}
            for (at, version), predictions in sorted(counts.items())
        ]
        return json_answer({"bucket": bucket, "points": points})

    @routes.get("/v1/models/{model:path}", tags=["models"], summary="One model")
    def get_model(model: str) -> Response:
        """What is known of a model, and its configuration with all defaults filled in."""
        known(model)
        return json_answer(
            {
                **_summary(parts, model, parts.alerts.answers.firing()),
                "config": parts.line.configs.get(model).model_dump(mode="json"),
                "versions": [
                    {
                        "version": version,
                        "predictions": served.predictions,
                        "first_seen": served.first_seen,
                        "last_seen": served.last_seen,
                    }
                    for version, served in parts.line.activity.versions(model).items()
                ],
                "features": [
                    {"name": feature.name, "kinds": sorted(feature.columns)}
                    for feature in parts.line.served.features(model)
                ],
                "references": parts.monitor.references(model),
            }
        )

    @routes.put("/v1/models/{model:path}", tags=["models"], summary="Configure a model")
    def put_model(model: str, config: Annotated[Any, Body()]) -> Response:
        """Replace a model's configuration; outcomes are folded anew where the rules of its labels changed."""
        checked = read_config(config)
        parts.configure(model, checked)
        return json_answer({"model": model, "config": checked.model_dump(mode="json")})

    return routes


def _summary(parts: Parts, model: str, firing: Mapping[str, Sequence[dict[str, Any]]]) -> dict[str, Any]:
    versions = parts.line.activity.versions(model)
    return {
        "model": model,
        "versions": list(versions),
        "predictions": sum(served.predictions for served in versions.values()),
        "first_seen": min((served.first_seen for served in versions.values()), default=None),
        "last_seen": max((served.last_seen for served in versions.values()), default=None),
        "health": parts.monitor.health(model),
        "alerts": list(firing.get(model, ())),
    }
