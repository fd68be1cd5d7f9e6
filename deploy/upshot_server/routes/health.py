"""Is it alive, is it ready, what is it."""

from __future__ import annotations

from fastapi import APIRouter, Response

from upshot import __version__
from upshot_joiner.store.client import Store
from upshot_server.parts import Parts
from upshot_server.routes.answers import json_answer


def router(parts: Parts) -> APIRouter:
    """The routes for operators."""
    routes = APIRouter(tags=["operations"])

    @routes.get("/healthz", summary="Alive")
    def healthz() -> Response:
        """The process answers."""
        return json_answer({"status": "ok"})

    @routes.get("/readyz", summary="Ready")
    def readyz() -> Response:
        """The store answers and takes writes; 503 and the reason otherwise."""
        reasons = parts.not_ready()
        return json_answer(
            {"status": "ok" if not reasons else "not ready", "reasons": reasons}, 503 if reasons else 200
        )

    @routes.get("/v1/status", summary="Version, clock and backlog")
    def status() -> Response:
        """The version, the server's clock, and how far intake, join and roll-ups are behind, as the server itself measures it."""
        return json_answer(
            {
                "version": __version__,
                "now": parts.clock.now(),
                "store": _kind_of(parts.store),
                "shards": len(parts.store.shards),
                "requests_to_join": parts.line.joiner.behind,
                "entities_to_attribute": parts.line.attributor.behind,
                "requests_not_joinable": parts.line.joiner.failed,
                "writer_failing": parts.line.committer.failing or None,
                "verifier": parts.verifier.told(),
                "lag": parts.lag(),
                "alerts": parts.alerts.answers.status(),
            }
        )

    return routes


def _kind_of(store: Store) -> str:
    if not store.is_shared:
        return "embedded"
    return "cluster" if len(store.shards) > 1 else "server"
