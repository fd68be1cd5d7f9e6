"""Training sets: make, list, look at, download."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Response
from fastapi.responses import FileResponse

from upshot_joiner.export.exporter import Exporter
from upshot_joiner.export.request import ExportRequest
from upshot_server.routes.answers import json_answer


def router(exporter: Exporter) -> APIRouter:
    """The routes about exports."""
    routes = APIRouter(tags=["exports"])

    @routes.post("/v1/exports", summary="Make a training set", status_code=202)
    def post_export(request: Annotated[ExportRequest, Body()]) -> Response:
        """Start an export as of a moment; everything but ``model`` has a default. Answered at once, made in the background."""
        export = exporter.submit(request)
        return json_answer({"id": export["id"], "status": export["status"]}, 202)

    @routes.get("/v1/exports", summary="All exports")
    def get_exports(model: str | None = None) -> Response:
        """Newest first."""
        found: list[dict[str, Any]] = exporter.list(model)
        return json_answer({"exports": found})

    @routes.get("/v1/exports/{export_id}", summary="One export")
    def get_export(export_id: str) -> Response:
        """Status, progress and, once done, the manifest."""
        return json_answer(exporter.get(export_id))

    @routes.get("/v1/exports/{export_id}/files/{path:path}", summary="Download a file of an export")
    def get_file(export_id: str, path: str) -> Response:
        """A part or the manifest, as named in the manifest."""
        file = exporter.file(export_id, path)
        return FileResponse(
            file,
            media_type="application/json" if file.suffix == ".json" else "application/vnd.apache.parquet",
            headers={"X-Content-Type-Options": "nosniff", "Content-Disposition": f'attachment; filename="{file.name}"'},
        )

    return routes
