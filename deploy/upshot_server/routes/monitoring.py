"""How a model does: performance, policies, references, Evidently reports."""

from __future__ import annotations

import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Body, Query, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict

from upshot_joiner.errors import Problem
from upshot_monitoring.drift.baselines import Baseline
from upshot_monitoring.monitor import Monitor
from upshot_monitoring.performance.answers import Asked as PerformanceAsked
from upshot_monitoring.policy.answers import Asked as PolicyAsked
from upshot_monitoring.profiles.references import MAX_BYTES
from upshot_monitoring.reports.as_code import answer_as_code
from upshot_server.routes.answers import address, code_answer, json_answer
from upshot_server.routes.drift import Code, Length, asked_of
from upshot_server.routes.moments import Moment, Version, duration, moment
from upshot_server.routes.received import receive

REPORT_HEADERS = {
    # Another program's page: it may run its scripts to draw itself, without our origin, our storage or the network.
    "Content-Security-Policy": (
        "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
        "img-src data: blob:; font-src data:; frame-ancestors 'self'; form-action 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class ReportRequest(BaseModel):
    """What a report is about; everything has the default of ``/drift``."""

    model_config = ConfigDict(extra="forbid")

    start: datetime | None = None
    end: datetime | None = None
    window: str | None = None
    version: str | None = None
    baseline: Baseline | None = None


def router(monitor: Monitor) -> APIRouter:
    """The routes about monitoring."""
    routes = APIRouter(tags=["monitoring"])

    @routes.get("/v1/models/{model:path}/performance", summary="Metrics by window")
    def get_performance(
        model: str,
        request: Request,
        label: str | None = None,
        start: Moment = None,
        end: Moment = None,
        window: Length = "1d",
        version: Version = None,
        segment: Annotated[
            str | None, Query(description="features.<name> or tags.<key>, perhaps with =<value>")
        ] = None,
        exact: Annotated[bool, Query(description="From the rows instead of from the hourly sums")] = False,
        code: Code = False,
    ) -> Response:
        """Metrics on matured rows with 95 % intervals; what is labelled so far of open windows is apart, in ``so_far``."""
        length = duration(window, "window") or timedelta(days=1)
        asked = PerformanceAsked(label, moment(start, "start"), moment(end, "end"), length, version, segment, exact)
        answer = monitor.performance(model, asked)
        if not code:
            return json_answer(answer)
        again = {
            "label": answer["label"], "start": answer["start"], "end": answer["end"], "window": window,
            "version": version, "segment": segment, "exact": exact or None,
        }  # fmt: skip
        lines = answer_as_code("Performance", request.scope["path"], again, address(request))
        return code_answer(lines, f"performance-{model[:40]}")

    @routes.get("/v1/models/{model:path}/compare", summary="Two versions on the same requests")
    def get_compare(
        model: str, a: str, b: str, label: str | None = None, start: Moment = None, end: Moment = None
    ) -> Response:
        """AUC of both on matured, labelled rows that both scored, and the paired difference b - a, with 95 % intervals."""
        return json_answer(monitor.compare(model, a, b, label, moment(start, "start"), moment(end, "end")))

    @routes.get("/v1/models/{model:path}/policy", summary="What other policies would have earned")
    def get_policy(
        model: str,
        label: str | None = None,
        start: Moment = None,
        end: Moment = None,
        version: Version = None,
        target: Annotated[
            str | None, Query(description="The version whose choices are valued; else each action")
        ] = None,
    ) -> Response:
        """IPS, SNIPS and doubly robust on matured rows with ``action`` and ``propensity``; no number where the overlap is thin."""
        asked = PolicyAsked(label, moment(start, "start"), moment(end, "end"), version, target)
        return json_answer(monitor.policy(model, asked))

    @routes.get("/v1/models/{model:path}/references", summary="The references of a model")
    def get_references(model: str) -> Response:
        """Training sets that were uploaded, newest first."""
        return json_answer({"references": monitor.references(model)})

    @routes.post(
        "/v1/models/{model:path}/references",
        summary="Upload a training set as the reference",
        status_code=201,
        openapi_extra={"requestBody": {"required": True, "content": {"application/vnd.apache.parquet": {}}}},
    )
    async def post_reference(model: str, request: Request, model_version: str = "") -> Response:
        """The body is a Parquet file: columns named as in an export; a column without such a name is a feature."""
        if not model or len(model) > 512:
            raise Problem(422, "invalid_model", "A model's name has 1 to 512 characters.")
        with tempfile.TemporaryDirectory(prefix="upshot-reference-") as folder:
            file = Path(folder) / "reference.parquet"
            await receive(request, file, MAX_BYTES)
            added = await to_thread.run_sync(monitor.add_reference, model, file, model_version)
        return json_answer(added, 201)

    @routes.get("/v1/models/{model:path}/reports", summary="The Evidently reports of a model")
    def get_reports(model: str) -> Response:
        """Newest first."""
        return json_answer({"reports": monitor.reports(model)})

    @routes.post("/v1/models/{model:path}/reports", summary="Make an Evidently report", status_code=202)
    def post_report(model: str, request: Annotated[ReportRequest | None, Body()] = None) -> Response:
        """Answered at once, made in a process of its own; charts show a sample, scores are those of all rows."""
        request = request or ReportRequest()
        asked_of(request.start, request.end, request.window, request.version, request.baseline)
        wanted = request.model_dump(mode="json", exclude_none=True)
        return json_answer(monitor.make_report(model, wanted), 202)

    @routes.get("/v1/reports/{report_id}", summary="One report")
    def get_report(report_id: str) -> Response:
        """Status and, once done, the result."""
        return json_answer(monitor.report(report_id))

    @routes.get("/v1/reports/{report_id}/html", summary="The page of a report")
    def get_report_html(report_id: str) -> Response:
        """Evidently's page, sandboxed: it has no rights of this site."""
        return FileResponse(monitor.report_html(report_id), media_type="text/html", headers=REPORT_HEADERS)

    @routes.get("/v1/reports/{report_id}/code", summary="A report as Python")
    def get_report_code(report_id: str, request: Request) -> Response:
        """The lines that make the same report from its samples, with the same methods, thresholds and scores."""
        return code_answer(monitor.report_code(report_id, address(request)), f"report-{report_id[:40]}")

    @routes.get("/v1/reports/{report_id}/files/{name}", summary="A file of a report")
    def get_report_file(report_id: str, name: str) -> Response:
        """What it was made from: ``request.json``, ``reference.parquet``, ``current.parquet`` (samples)."""
        file = monitor.report_file(report_id, name)
        kind = "application/json" if name.endswith(".json") else "application/vnd.apache.parquet"
        return FileResponse(file, media_type=kind, headers={"X-Content-Type-Options": "nosniff"})

    return routes
