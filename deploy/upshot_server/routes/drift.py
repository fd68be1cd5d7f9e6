"""Serving against a baseline: drift, skew, single features, ages of feature values, attributions."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response

from upshot_monitoring.drift.baselines import Asked, Baseline
from upshot_monitoring.drift.kept import AskedKept
from upshot_monitoring.monitor import Monitor
from upshot_monitoring.reports.as_code import answer_as_code
from upshot_server.routes.answers import address, code_answer, json_answer
from upshot_server.routes.moments import Moment, Version, duration, moment

Exact = Annotated[
    bool, Query(description="Also compute each statistic from all rows, and say how far the profile's is from it")
]
Code = Annotated[bool, Query(description="Instead of the answer, the lines of Python that ask for it again")]
Length = Annotated[str | None, Query(description="A duration: 1h, 1d, 7d", examples=["1d"])]


def router(monitor: Monitor) -> APIRouter:
    """The routes about drift."""
    routes = APIRouter(tags=["monitoring"])

    @routes.get("/v1/models/{model:path}/drift", summary="Serving now against a baseline")
    def get_drift(
        model: str,
        request: Request,
        start: Moment = None,
        end: Moment = None,
        window: Length = None,
        version: Version = None,
        baseline: Baseline | None = None,
        exact: Exact = False,
        code: Code = False,
    ) -> Response:
        """A verdict per feature, the worst first."""
        answer = monitor.drift(model, asked_of(start, end, window, version, baseline), exact=exact)
        asked = {"version": version, "baseline": answer["baseline"], "exact": exact or None}
        return _json_or_code(answer, code, "Drift", model, request, asked)

    @routes.get("/v1/models/{model:path}/skew", summary="Serving now against training")
    def get_skew(
        model: str,
        request: Request,
        start: Moment = None,
        end: Moment = None,
        window: Length = None,
        version: Version = None,
        exact: Exact = False,
        code: Code = False,
    ) -> Response:
        """A verdict per feature against the reference, the worst first; features that one side lacks are findings."""
        answer = monitor.skew(model, asked_of(start, end, window, version, None), exact=exact)
        asked = {"version": version, "exact": exact or None}
        return _json_or_code(answer, code, "Skew", model, request, asked)

    @routes.get("/v1/models/{model:path}/verdicts", summary="Verdicts on closed windows, as they were given")
    def get_verdicts(
        model: str,
        feature: str = "",
        start: Moment = None,
        end: Moment = None,
        version: Version = None,
        history: Annotated[
            bool, Query(description="Also those that a later verdict on the same window replaced")
        ] = False,
        role: Annotated[
            str, Query(description="Only of these: feature, score, prediction, label, multivariate, ...")
        ] = "",
    ) -> Response:
        """By default of the last 30 days, all versions together; each with method, statistic, threshold, rows and baseline."""
        asked = AskedKept(moment(start, "start"), moment(end, "end"), feature, version or "", history, role)
        return json_answer({"verdicts": monitor.verdicts(model, asked)})

    @routes.get("/v1/models/{model:path}/features/{name:path}", summary="One feature")
    def get_feature(
        model: str,
        name: str,
        request: Request,
        start: Moment = None,
        end: Moment = None,
        window: Length = None,
        version: Version = None,
        baseline: Baseline | None = None,
        role: Literal["feature", "score", "prediction", "label", "freshness", "attribution"] | None = None,
        exact: Exact = False,
        code: Code = False,
    ) -> Response:
        """Its statistic day by day, its figures, and its distribution now and in the baseline."""
        answer = monitor.feature(model, name, asked_of(start, end, window, version, baseline), role, exact=exact)
        if not code:
            return json_answer(answer)
        now = answer["window"]
        hours = int((now["end"] - now["start"]).total_seconds()) // 3600
        first = answer["windows"][0]["start"] if answer["windows"] else start
        asked = {
            "start": first, "end": now["end"], "window": f"{hours}h", "version": version,
            "baseline": answer["baseline"], "role": role, "exact": exact or None,
        }  # fmt: skip
        return code_answer(
            answer_as_code("One feature", request.scope["path"], asked, address(request)), f"feature-{name[:40]}"
        )

    @routes.get("/v1/models/{model:path}/freshness", summary="How old feature values were when they were served")
    def get_freshness(
        model: str,
        request: Request,
        start: Moment = None,
        end: Moment = None,
        window: Length = None,
        version: Version = None,
        baseline: Baseline | None = None,
        code: Code = False,
    ) -> Response:
        """Of every feature with ``feature_times``: ages in seconds, how many are older than ``max_age``, and the verdict."""
        answer = monitor.freshness(model, asked_of(start, end, window, version, baseline))
        asked = {"version": version, "baseline": baseline}
        return _json_or_code(answer, code, "Freshness", model, request, asked)

    @routes.get("/v1/models/{model:path}/attributions", summary="What each feature contributes to the predictions")
    def get_attributions(
        model: str,
        request: Request,
        start: Moment = None,
        end: Moment = None,
        window: Length = None,
        version: Version = None,
        baseline: Baseline | None = None,
        code: Code = False,
    ) -> Response:
        """Mean absolute attribution by feature, now and before, and the verdict on their ranking (NDCG)."""
        answer = monitor.attributions(model, asked_of(start, end, window, version, baseline))
        asked = {"version": version, "baseline": baseline}
        return _json_or_code(answer, code, "Attributions", model, request, asked)

    return routes


def _json_or_code(
    answer: dict[str, Any], code: bool, what: str, model: str, request: Request, asked: dict[str, Any]
) -> Response:
    """An answer about a window, or the lines that ask for it again, with the range as it was resolved."""
    if not code:
        return json_answer(answer)
    lines = answer_as_code(what, request.scope["path"], {**answer["window"], **asked}, address(request))
    return code_answer(lines, f"{what.lower()}-{model[:40]}")


def asked_of(
    start: datetime | None, end: datetime | None, window: str | None, version: str | None, baseline: Any
) -> Asked:
    """The question in the parameters of a request."""
    return Asked(moment(start, "start"), moment(end, "end"), duration(window, "window"), version, baseline)
