"""Routes of the dashboard: five pages and the files they load."""

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse

from upshot_monitoring.dashboard import assets, pages

router = APIRouter(include_in_schema=False)

A_YEAR_S = 365 * 86_400


def _page(html: str, status: int = 200) -> HTMLResponse:
    return HTMLResponse(html, status_code=status, headers=pages.SECURITY_HEADERS)


@router.get("/")
def index() -> HTMLResponse:
    """Show the list of models."""
    return _page(pages.render_index())


@router.get("/models/{model:path}")
def model_page(model: str) -> HTMLResponse:
    """Show one model; its name may hold slashes."""
    return _page(pages.render_model(model))


@router.get("/writers")
def writers() -> HTMLResponse:
    """Show the writers."""
    return _page(pages.render_writers())


@router.get("/intake")
def intake() -> HTMLResponse:
    """Show how far the server is behind, what waits, and what was refused."""
    return _page(pages.render_intake())


@router.get("/requests")
def search(request_id: str = Query(default="")) -> HTMLResponse:
    """Show the story that the search box in the header asked for; works without scripts deciding the address."""
    return _page(pages.render_request(request_id.strip()))


@router.get("/requests/{request_id:path}")
def request_page(request_id: str) -> HTMLResponse:
    """Show one request's story; its ID may hold slashes."""
    return _page(pages.render_request(request_id))


@router.get("/static/{path:path}")
def static_file(path: str, request: Request) -> Response:
    """Send a file that a page loads: compressed where the browser takes it, and only if it has not got it yet."""
    found = assets.find(path)
    if found is None:
        return _page(pages.render_not_found(), 404)
    asset, for_ever = found
    headers = {
        "ETag": asset.etag,
        "Vary": "Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": f"public, max-age={A_YEAR_S}, immutable" if for_ever else "no-cache",
    }
    if asset.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    body = asset.body
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["Content-Encoding"] = "gzip"
        body = asset.gzipped
    return Response(body, headers=headers, media_type=asset.media_type)
