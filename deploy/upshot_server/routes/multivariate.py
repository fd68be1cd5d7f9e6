"""Multivariate drift: all features together, by a classifier of the two sides and by the error of reconstructing rows."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Query, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field

from upshot_monitoring.monitor import Monitor
from upshot_monitoring.reports.as_code import MEDIA_TYPE
from upshot_server.routes.answers import json_answer
from upshot_server.routes.moments import duration, moment

Method = Literal["domain_classifier", "pca_reconstruction"]


class MultivariateRequest(BaseModel):
    """What is compared; the rows have the defaults of ``/drift``, the methods those of the configuration, else both."""

    model_config = ConfigDict(extra="forbid")

    start: datetime | None = None
    end: datetime | None = None
    window: str | None = None
    version: str | None = None
    baseline: Literal["reference", "previous", "last_week"] | None = None
    methods: list[Method] | None = None
    thresholds: dict[str, Annotated[float, Field(allow_inf_nan=False)]] | None = None
    rows: int | None = None
    """Of either side, at most."""
    without: list[str] | None = None
    """Features that are not looked at."""


def router(monitor: Monitor) -> APIRouter:
    """The routes about multivariate drift."""
    routes = APIRouter(tags=["monitoring"])

    @routes.get("/v1/models/{model:path}/multivariate-drifts", summary="The multivariate comparisons of a model")
    def get_multivariate_drifts(model: str) -> Response:
        """Those that were asked for and those of closed windows, newest first."""
        return json_answer({"multivariate_drifts": monitor.multivariates(model)})

    @routes.post(
        "/v1/models/{model:path}/multivariate-drifts", summary="Compare all features together", status_code=202
    )
    def post_multivariate_drift(model: str, request: Annotated[MultivariateRequest | None, Body()] = None) -> Response:
        """Answered at once, made in a process of its own from samples of both sides."""
        request = request or MultivariateRequest()
        moment(request.start, "start")
        moment(request.end, "end")
        duration(request.window, "window")
        wanted: dict[str, Any] = request.model_dump(mode="json", exclude_none=True)
        return json_answer(monitor.make_multivariate(model, wanted), 202)

    @routes.get("/v1/multivariate-drifts/{drift_id}", summary="One multivariate comparison")
    def get_multivariate_drift(
        drift_id: str,
        request: Request,
        code: Annotated[
            bool, Query(description="Instead of the answer, the lines of Python that make it again from its samples")
        ] = False,
    ) -> Response:
        """Status and, once done, the result: verdicts with their numbers, what tells the sides apart, what was left out."""
        if not code:
            return json_answer(monitor.multivariate(drift_id))
        lines = monitor.multivariate_code(drift_id, f"{request.url.scheme}://{request.url.netloc}")
        headers = {
            "Content-Disposition": 'attachment; filename="multivariate-drift.py"',
            "X-Content-Type-Options": "nosniff",
        }
        return Response(lines, media_type=MEDIA_TYPE, headers=headers)

    @routes.get("/v1/multivariate-drifts/{drift_id}/files/{name}", summary="A file of a multivariate comparison")
    def get_multivariate_file(drift_id: str, name: str) -> Response:
        """``domain_classifier.parquet``, ``pca_reconstruction.parquet``: the numbers that were learnt from and judged."""
        return FileResponse(
            monitor.multivariate_file(drift_id, name),
            media_type="application/vnd.apache.parquet",
            headers={"X-Content-Type-Options": "nosniff"},
        )

    return routes
