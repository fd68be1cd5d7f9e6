"""Canned answers of the API, shaped as in design §3.6, for tests of the layout: a year of flights, and hostile names.

Whether pages and server fit together is tested against the real server in `test_real_server.py`.
"""

import json
import math
import random
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

Answers = dict[str, tuple[int, Any]]

START = datetime(2013, 4, 1, tzinfo=UTC)
NOW = datetime(2013, 11, 20, 14, 5, tzinfo=UTC)
TURN = datetime(2013, 10, 1, tzinfo=UTC)


def iso(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _days(start: datetime, end: datetime) -> list[datetime]:
    return [start + timedelta(days=i) for i in range((end - start).days + 1)]


def _windows(rng: random.Random, start: datetime, lift: float) -> list[dict[str, Any]]:
    windows = []
    for day in _days(start, NOW.replace(hour=0, minute=0)):
        rows = rng.randint(380, 460)
        age = (NOW - day) / timedelta(days=1)
        matured = rows if age >= 2 else int(rows * max(0.0, (age - 0.6) / 1.4))
        season = 0.03 * math.sin((day - START) / timedelta(days=1) / 26)
        auc = 0.69 + lift + season + rng.gauss(0, 0.012)
        width = 0.024 * math.sqrt(420 / max(matured, 40))
        metrics = {} if matured < 20 else {"roc_auc": auc, "log_loss": 0.48 - auc * 0.1, "calibration_error": 0.04}
        so_far = {"rows": matured, "metrics": {"roc_auc": auc}, "intervals": {"roc_auc": [auc - width, auc + width]}}
        windows.append(
            {
                **({"so_far": so_far} if 0 < matured < rows else {}),
                "start": iso(day),
                "end": iso(day + timedelta(days=1)),
                "rows": rows,
                "matured": matured,
                "coverage": 0.97 if matured else None,
                "metrics": metrics,
                "intervals": {"roc_auc": [auc - width, auc + width]} if metrics else {},
                "estimated": {},
            }
        )
    return windows


def performance(version: str) -> dict[str, Any]:
    rng = random.Random(f"performance {version}")
    lift = 0.035 if version == "2" else 0.0
    windows = _windows(rng, TURN if version == "2" else START, lift)
    matured, rows = sum(w["matured"] for w in windows), sum(w["rows"] for w in windows)
    overall = {
        "rows": rows,
        "matured": matured,
        "coverage": 0.9712,
        "metrics": {"roc_auc": 0.6934 + lift, "log_loss": 0.4312 - lift, "calibration_error": 0.0412 - lift / 2},
        "intervals": {
            "roc_auc": [0.6902 + lift - lift / 5, 0.6966 + lift + lift / 5],
            "log_loss": [0.4295 - lift, 0.4330 - lift],
            "calibration_error": [0.0391 - lift / 2, 0.0433 - lift / 2],
        },
    }
    return {"label": "late", "windows": windows, "overall": overall}


FEATURES: list[tuple[str, str, str, float | None, float, str]] = [
    ("temperature", "numeric", "wasserstein", 0.4127, 0.1, "drift"),
    ("humidity", "numeric", "wasserstein", 0.1583, 0.1, "drift"),
    ("destination", "categorical", "jensen_shannon", 0.1121, 0.1, "drift"),
    ("prediction", "score", "wasserstein", 0.0931, 0.1, "ok"),
    ("wind_speed", "numeric", "wasserstein", 0.0712, 0.1, "ok"),
    ("scheduled_hour", "numeric", "wasserstein", 0.0310, 0.1, "ok"),
    ("carrier", "categorical", "jensen_shannon", 0.0284, 0.1, "ok"),
    ("distance", "numeric", "wasserstein", 0.0211, 0.1, "ok"),
    ("plane_age", "numeric", "wasserstein", 0.0187, 0.1, "ok"),
    ("origin", "categorical", "jensen_shannon", 0.0090, 0.1, "ok"),
    ("is_weekend", "boolean", "jensen_shannon", 0.0012, 0.1, "ok"),
    ("visibility", "numeric", "wasserstein", None, 0.1, "no_verdict"),
]


def carried(names: list[str]) -> dict[str, tuple[int, Any]]:
    """Answers about freshness and attributions, by the ends of their addresses."""
    judged = {
        "method": "wasserstein", "statistic": 0.7, "threshold": 0.5, "p_value": 1e-9, "adjusted_p_value": 1e-8,
        "verdict": "drift", "rows_reference": 900, "rows_current": 800,
    }  # fmt: skip
    about = {
        "window": {"start": iso(NOW - timedelta(days=1)), "end": iso(NOW)}, "version": None, "baseline": "previous",
        "baseline_detail": {"start": iso(NOW - timedelta(days=2)), "end": iso(NOW - timedelta(days=1))}, "note": None,
    }  # fmt: skip
    ages = {"min": -2.0, "p50": 60.0, "p90": 600.0, "p99": 7200.0, "max": 86400.0, "mean": 300.0}
    fresh = [
        {
            "feature": name, "rows": 900, "with_time_share": 0.9, "age_s": ages, "age_s_before": ages,
            "max_age_s": 3600.0, "stale_share": 0.02, "future_share": 0.0, "reason": name, **judged,
        }
        for name in names
    ]  # fmt: skip
    importance = [
        {
            "feature": name, "importance": 0.4, "importance_before": 0.2, "share": 0.5, "share_before": 0.25, "rank": i,
            "rank_before": 1, "mean": 0.1, "mean_before": 0.1, "reason": name, **judged,
        }
        for i, name in enumerate(names, 1)
    ]  # fmt: skip
    ranking = {**judged, "statistic": 0.81, "threshold": 0.9, "reason": names[0]}
    return {
        "freshness": (200, {**about, "features": fresh}),
        "attributions": (200, {**about, "ranking": ranking, "features": importance}),
    }


def multivariate(names: list[str] | None = None) -> dict[str, Any]:
    """The newest comparison of all features together; with ``names``, in every place that a name can stand in."""
    told = names or ["temperature", "humidity", "destination"]
    word = names[0] if names else "reference"
    methods = [
        {
            "method": method, "statistic": statistic, "threshold": threshold, "p_value": p_value, "verdict": verdict,
            "reason": names[2] if names and verdict == "no_verdict" else None, "change": -0.012,
            **({"importance": [{"feature": name, "fall": 0.1 / (i + 1)} for i, name in enumerate(told)]} if not i else {}),
        }
        for i, (method, statistic, threshold, p_value, verdict) in enumerate(
            [("domain_classifier", 0.683, 0.55, 1e-9, "drift"), ("pca_reconstruction", 0.012, 0.03, 0.21, "no_verdict")]
        )
    ]  # fmt: skip
    result = {
        "window": {"start": iso(NOW - timedelta(days=1)), "end": iso(NOW)}, "baseline": word, "note": names and names[1],
        "rows": {"reference": 5000, "current": 412}, "counts": {"compared": 11, "left_out": 2},
        "methods": methods, "drifted": 1,
    }  # fmt: skip
    job = {
        "id": names[4] if names else "multi-1", "status": "done", "request": {"revision": 1}, "result": result,
        "error": None, "created_at": iso(NOW), "code": names[5] if names else "/v1/multivariate-drifts/multi-1?code=true",
    }  # fmt: skip
    return {"multivariate_drifts": [job]}


def drift(baseline: str = "previous", names: list[str] | None = None) -> dict[str, Any]:
    features = []
    for i, (name, kind, method, statistic, threshold, verdict) in enumerate(FEATURES):
        one: dict[str, Any] = {
            "feature": names[i % len(names)] + ("" if i < len(names) else str(i)) if names else name,
            "role": "score" if kind == "score" else "feature",
            "kind": kind,
            "method": method,
            "statistic": statistic,
            "threshold": threshold,
            "verdict": verdict,
            "rows_reference": 80_789,
            "rows_current": 412 if statistic is not None else 9,
        }
        if verdict == "no_verdict":
            one["reason"] = "too_few_rows"
        elif kind == "numeric":
            one["statistics"] = {"psi": (statistic or 0) * 1.2, "jensen_shannon": (statistic or 0) * 0.8}
        features.append(one)
    window = {"start": iso(NOW - timedelta(days=1)), "end": iso(NOW)}
    version = {"reference": "ref-2013q1", "model_version": names[0] if names else "1"}
    before = {"start": iso(NOW - timedelta(days=2)), "end": iso(NOW - timedelta(days=1))}
    return {
        "baseline": baseline,
        "baseline_detail": version if baseline == "reference" else before,
        "window": window,
        "features": features,
        "drifted": 3,
        "judged": 10,
        "drifted_share": 0.3,
    }


def feature(name: str, kind: str = "numeric", categories: list[str] | None = None) -> dict[str, Any]:
    rng = random.Random(name)
    windows = []
    for day in _days(START, NOW.replace(hour=0, minute=0)):
        season = math.sin((day - START) / timedelta(days=1) / 60)
        statistic = abs(0.22 * season) + rng.random() * 0.03
        windows.append(
            {
                "start": iso(day),
                "end": iso(day + timedelta(days=1)),
                "rows": 420,
                "nulls": rng.randint(0, 9) if kind == "numeric" else 0,
                "absent": 0,
                "mean": 12 + 10 * season,
                "std": 4.1,
                "min": -3.0,
                "max": 33.0,
                "statistic": statistic,
                "verdict": "drift" if statistic > 0.1 else "ok",
            }
        )
    if kind == "numeric":

        def normal(mean: float, deviation: float) -> list[list[float]]:
            edges = [-12 + i * 1.5 for i in range(33)]
            weights = [math.exp(-(((low + 0.75) - mean) ** 2) / (2 * deviation**2)) for low in edges[:-1]]
            total = sum(weights)
            return [[low, high, w / total] for low, high, w in zip(edges[:-1], edges[1:], weights, strict=True)]

        histogram: dict[str, Any] = {"reference": normal(4, 5), "current": normal(17, 6)}
    else:
        names = categories or ["ATL", "ORD", "LAX", "BOS", "MCO", "CLT", "SFO", "FLL", "MIA", "DCA"]
        histogram = {
            "reference": [[c, (len(names) - i) / sum(range(len(names) + 1))] for i, c in enumerate(names)],
            "current": [[c, (i + 1) / sum(range(len(names) + 1))] for i, c in enumerate(names)],
        }
    figures = {"rows": 80_789, "nulls": 12, "absent": 0, "nan": 0, "mean": 4.2, "std": 5.0, "min": -12.0, "max": 31.0}
    quantiles = {"quantiles": {"p5": -4.0, "p50": 4.1, "p95": 12.3}} if kind == "numeric" else {"values": 10}
    return {
        "feature": name,
        "kind": kind,
        "windows": windows,
        "histogram": histogram,
        "reference": {**figures, **quantiles},
        "current": {**figures, **quantiles, "rows": 412, "mean": 17.4},
    }


def advice() -> dict[str, Any]:
    """A window that loses much, one that loses little, and one that nobody was watched for."""

    def window(hours: float, late: float | None) -> dict[str, Any]:
        spread = {"low": late - 0.01, "high": late + 0.01} if late is not None else {"low": None, "high": None}
        return {"window_s": hours * 3600, "late": late, **spread, "text": f"A window of {hours:g} h, in words."}

    windows = [window(1, 0.7), window(4, 0.38), window(24, 0.021), window(900, None)]
    return {
        "of": "positives",
        "arrived": 23_100,
        "needed": 50,
        "horizon_s": 200_000.0,
        "windows": windows,
        "configured": windows[1],
        "recommended": {"0.01": None, "0.05": 86_400.0},
        "text": "A window of 4 h would turn 38 % of positives into false negatives (37 % to 39 %). 1 d is enough.",
    }


def orphan(request_id: str, name: str = "late", **fields: Any) -> dict[str, Any]:
    """One label without a prediction."""
    known = {"item_id": "", "model": "", "op": "set", "value": 1, "source": "tower", "label_id": f"id of {request_id}"}
    times = {"observed_at": iso(NOW), "received_at": iso(NOW - timedelta(hours=4)), "age_s": 14_400.0}
    return {"request_id": request_id, "name": name, **known, **times, **fields}


def refused(request_id: str, code: str = "wrong_type", **fields: Any) -> dict[str, Any]:
    """One refused event."""
    text = json.dumps({"request_id": request_id, "value": [1]})
    known = {"kind": "label", "loc": "value", "model": "flights", "writer_id": "", "seq": None, "origin": None}
    payload = {"payload_text": text, "payload_bytes": len(text), "payload_is_cut": False, "replayed": False}
    return {"request_id": request_id, "code": code, "received_at": iso(NOW), **known, **payload, **fields}


def intake_answers(orphans: list[dict[str, Any]], quarantine: list[dict[str, Any]]) -> Answers:
    """Both lists with their counts, on one page each."""
    ages = {"under_1h": 0, "under_1d": len(orphans), "under_7d": 0, "under_30d": 0, "over_30d": 0}
    names = [
        {"name": name, "orphans": 1, "ages": ages, "oldest": iso(NOW)} for name in {one["name"]: 1 for one in orphans}
    ]
    counts = {"total": len(orphans), "oldest": None, "ages": ages, "names": names}
    codes = [
        {"kind": "label", "code": code, "events": sum(one["code"] == code for one in quarantine), "newest": iso(NOW)}
        for code in {one["code"]: 1 for one in quarantine}
    ]
    return {
        "/v1/orphans": (200, {"orphans": orphans, "next": None, **counts}),
        "/v1/quarantine": (200, {"refused": quarantine, "next": None, "total": len(quarantine), "codes": codes}),
    }


LAG = {
    "intake": {"waiting": 0},
    "join": {"p50_s": 0.21, "p99_s": 0.84, "joined": 120_000, "over_s": 300.0, "waiting": 31, "oldest_waiting_s": 0.4},
    "roll_ups": {"profiles": 2, "labels": 1},
}


def labels(name: str = "late") -> dict[str, Any]:
    curve = [[60 * 2**i, min(1.0, 1 - math.exp(-(60 * 2**i) / 15_000))] for i in range(12)]
    one = {
        "name": name,
        "predictions": 114_212,
        "labelled": 111_020,
        "defaulted": 0,
        "pending": 411,
        "retracted": 12,
        "censored": 2_769,
        "coverage": 0.9754,
        "orphans": 3,
        "delay_s": {"p50": 15_120.0, "p90": 24_960.0, "p99": 41_400.0},
        "delay_curve": curve,
        "delay_band": [[seconds, max(0.0, share - 0.02), min(1.0, share + 0.02)] for seconds, share in curve],
        "arrival": {
            "watched": 113_000,
            "arrived": 110_400,
            "followed_s": 200_000.0,
            "share": 0.977,
            "low": 0.976,
            "high": 0.978,
        },
        "window_s": 14_400.0,
        "window_advice": advice(),
    }
    return {
        "labels": [one],
        "funnel": {"logged": 114_212, "shown": 114_212, "labelled": 111_020, "matured": 113_801, "exported": 78_212},
    }


def traffic() -> dict[str, Any]:
    rng = random.Random("traffic")
    points = []
    for day in _days(START, NOW.replace(hour=0, minute=0)):
        points.append({"start": iso(day), "version": "1", "predictions": rng.randint(380, 460)})
        if day >= TURN:
            points.append({"start": iso(day), "version": "2", "predictions": rng.randint(380, 460)})
    return {"bucket": "day", "points": points}


def story(request_id: str, model: str = "flights", label: str = "late", extra: dict[str, Any] | None = None) -> str:
    """The story as raw text, because 1 and 1.0 must stay two things."""
    predicted = datetime(2013, 10, 3, 10, 40, tzinfo=UTC)
    features = {
        "carrier": "UA",
        "distance": 1400,
        "temperature": 17.0,
        "flight": "1545",
        "plane_age": None,
        "wind_speed": "NaN",
        "gust": "NaN",
        "visibility": 10.000000000000002,
        "serial": 12345678901234567890,
        "is_weekend": False,
        "note": "",
        "embedding": [0.1, 2.0, 3],
        **(extra or {}),
    }
    second = {k: v for k, v in features.items() if k != "note"}
    common = {
        "model": model,
        "item_id": "",
        "predicted_at": iso(predicted),
        "received_at": iso(predicted + timedelta(seconds=0.4)),
        "probabilities": {},
        "non_finite": ["wind_speed"],
        "entities": {"plane": "N14228"},
        "tags": {"channel": "gate"},
    }

    def event(label_id: str, value: Any, after_h: float, source: str, op: str = "set") -> dict[str, Any]:
        observed = predicted + timedelta(hours=after_h)
        return {
            "label_id": label_id,
            "request_id": request_id,
            "item_id": "",
            "model": "",
            "name": label,
            "op": op,
            "value": value,
            "observed_at": iso(observed),
            "received_at": iso(observed + timedelta(minutes=2)),
            "source": source,
        }

    outcome = {
        "item_id": "",
        "name": label,
        "state": "labelled",
        "value": 1,
        "observed_at": iso(predicted + timedelta(hours=9)),
        "received_at": iso(predicted + timedelta(hours=9, minutes=2)),
        "matures_at": iso(predicted + timedelta(days=2)),
        "model": model,
    }
    return json.dumps(
        {
            "request_id": request_id,
            "predictions": [
                {**common, "model_version": "1", "prediction": 0.1873, "features": features},
                {**common, "model_version": "2", "prediction": 0.3341, "features": second},
            ],
            "label_events": [event("e-1", 0, 4, "tower"), event("e-2", 1, 9, "airline")],
            "outcomes": [{**outcome, "model_version": "1"}, {**outcome, "model_version": "2"}],
        }
    )


def writer(writer_id: str, state: str = "complete", **fields: Any) -> dict[str, Any]:
    """One writer of whom everything arrived, but for the fields that say otherwise."""
    numbers = {"next_seq": 12_000, "received": 12_000, "rejected": 0, "missing": 0, "unexplained": 0}
    times = {"started_at": iso(START), "first_seen": iso(START), "last_seen": iso(NOW), "last_report_at": iso(NOW)}
    return {
        "writer_id": writer_id,
        "state": state,
        "host": "model-7f9c",
        "pid": 41,
        "sdk": "upshot-python/0.2.0",
        "models": ["flights"],
        "is_last": False,
        "is_silent": False,
        "explained": {},
        "waiting": {},
        "gaps": [],
        "gap_count": 0,
        "counters": {"accepted": 12_000, "stored": 12_000},
        "rejected_by_code": {},
        **numbers,
        **times,
        **fields,
    }


def writers() -> list[dict[str, Any]]:
    """One of each kind."""
    dropped = {"received": 11_000, "missing": 1000, "explained": {"full": 990, "http_401": 10}}
    waiting = {"received": 11_800, "missing": 200, "waiting": {"spooled": 150, "recent": 50}}
    lost = {"received": 11_958, "missing": 42, "unexplained": 42, "gaps": [[7, 7], [40, 80]], "gap_count": 2}
    return [
        writer("9f2c77aa01b3d4e5", "lossy", is_silent=True, rejected=7, rejected_by_code={"conflict": 7}, **lost),
        writer("5d0b1177cc93aa02", "waiting", **waiting),
        writer("0460415af31d50ef", gaps=[[n * 20, n * 20 + 18] for n in range(50)], gap_count=52, **dropped),
        writer("54ed021b69d98b7f", is_last=True),
        writer("no-report", host="", pid=None, sdk="", started_at=None, last_report_at=None, counters={}),
    ]


def writers_answers(listed: list[dict[str, Any]]) -> Answers:
    """The list, with its totals, and each writer by itself."""
    totals: dict[str, Any] = {"writers": len(listed), "explained": {}, "waiting": {}}
    totals["states"] = {state: sum(w["state"] == state for w in listed) for state in ("complete", "waiting", "lossy")}
    for name in ("next_seq", "received", "rejected", "missing", "unexplained"):
        totals[name] = sum(w[name] for w in listed)
    for name in ("explained", "waiting"):
        for counts in (w[name] for w in listed):
            for key, n in counts.items():
                totals[name][key] = totals[name].get(key, 0) + n
    answers: Answers = {"/v1/writers": (200, {"writers": listed, "totals": totals})}
    return answers | {f"/v1/writers/{quote(w['writer_id'], safe='')}": (200, w) for w in listed}


def flights() -> Answers:
    """A year of flights by two versions, as it looks in late November."""
    versions = [
        {"version": "1", "predictions": 94_001, "first_seen": iso(START), "last_seen": iso(NOW)},
        {"version": "2", "predictions": 20_211, "first_seen": iso(TURN), "last_seen": iso(NOW)},
    ]
    base = "/v1/models/flights"
    manifest = {
        "model": "flights",
        "start": iso(START),
        "end": iso(TURN),
        "as_of": iso(TURN - timedelta(days=10)),
        "rows": 78_212,
        "states": {"labelled": 75_901, "pending": 480, "censored": 1_831, "retracted": 0},
        "columns": [],
        "files": [{"path": "part-00000.parquet", "rows": 78_212, "sha256": "ab" * 32}],
        "sha256": "4c1d9e" + "0f" * 29,
    }
    comparison = {
        "label": "late",
        "a": "1",
        "b": "2",
        "rows": 19_402,
        "metric": "roc_auc",
        "values": {"a": {"value": 0.7011, "interval": [0.69, 0.71]}, "b": {"value": 0.7302, "interval": [0.72, 0.74]}},
        "difference": {"value": 0.0291, "interval": [0.0218, 0.0364]},
    }
    answers: Answers = {
        "/v1/status": (200, {"version": "0.1.0", "now": iso(NOW), "store": "chDB", "lag": LAG}),
        "/v1/models": (
            200,
            {
                "models": [
                    {
                        "model": "flights",
                        "versions": ["1", "2"],
                        "predictions": 114_212,
                        "first_seen": iso(START),
                        "last_seen": iso(NOW),
                        "health": {"status": "warning", "reasons": ["3 of 11 features drift"]},
                        "alerts": [{"rule": "summer", "severity": "critical", "since": iso(NOW - timedelta(hours=5))}],
                    },
                    {
                        "model": "fraud",
                        "versions": ["2024-11"],
                        "predictions": 8_120_331,
                        "first_seen": iso(START),
                        "last_seen": iso(NOW - timedelta(hours=3)),
                        "health": {"status": "ok"},
                    },
                ]
            },
        ),
        f"{base}/alerts": (200, {"model": "flights", "evaluated_at": iso(NOW), "rules": alert_rules()}),
        base: (
            200,
            {
                "model": "flights",
                "health": {"status": "warning", "reasons": ["3 of 11 features drift"]},
                "alerts": [{"rule": "summer", "severity": "critical", "since": iso(NOW - timedelta(hours=5))}],
                "config": {"task": "binary", "primary_label": "late"},
                "predictions": 114_212,
                "versions": versions,
                "references": [
                    {"id": "ref-2013q1", "model_version": "1", "rows": 80_789, "created_at": iso(START)},
                ],
            },
        ),
        f"{base}/labels": (200, labels()),
        f"{base}/traffic": (200, traffic()),
        "/v1/models/fraud/traffic": (200, {"bucket": "day", "points": traffic()["points"][:60]}),
        f"{base}/performance?version=1": (200, performance("1")),
        f"{base}/performance?version=2": (200, performance("2")),
        f"{base}/drift": (200, drift()),
        f"{base}/skew": (200, drift("reference")),
        f"{base}/compare": (200, comparison),
        "/v1/exports": (
            200,
            {
                "exports": [
                    {"id": "exp-01", "status": "done", "progress": 1.0, "location": "", "manifest": manifest},
                    {"id": "exp-02", "status": "running", "progress": 0.42, "location": "", "manifest": None},
                ]
            },
        ),
        "/v1/predictions/flight-1545": (200, story("flight-1545")),
    }
    answers[f"{base}/multivariate-drifts"] = (200, multivariate())
    for name, kind, *_ in FEATURES:
        answers[f"{base}/features/{name}"] = (200, feature(name, "numeric" if kind in {"numeric", "score"} else kind))
    waiting = [orphan("lost-1"), orphan("lost-2", "cancelled", op="retract", value=None, source="", model="flights")]
    return (
        answers
        | writers_answers(writers())
        | intake_answers(waiting, [refused("bad-1"), refused("bad-2", "conflict", loc="")])
    )


# One payload per way in that is known to us: tags, attributes, closing script, SVG, template and plotly's own markup.
HOSTILE = [
    "<script>document.documentElement.dataset.pwned=1</script>",
    "</script><script>document.documentElement.dataset.pwned=1</script>",
    "<img src=x onerror=\"document.documentElement.dataset.pwned=1;fetch('http://canary.invalid/a')\">",
    "<svg/onload=document.documentElement.dataset.pwned=1>",
    "\"><iframe srcdoc='<script>parent.document.documentElement.dataset.pwned=1</script>'></iframe>",
    '<a href="javascript:document.documentElement.dataset.pwned=1">click</a>',
    '<b>bold</b><br><a href="http://canary.invalid/b">link</a>',
    "%{customdata}{{7*7}}${alert(1)}",
    "<style>@import url(http://canary.invalid/c)</style>",
    "x' onmouseover='document.documentElement.dataset.pwned=1' y=\"",
    "&lt;img src=x onerror=alert(1)&gt;&#60;b&#62;",
    "../../../etc/passwd?x=1#y",
    "__proto__",
    "\u202e\u0435\u0432\u0438\u043b\u0000\u2028 \u6a21\u578b",  # right-to-left, NUL, a line separator, other scripts
    '<a href="//c">y</a>',  # short enough to stand uncut in a legend, where plotly would make a link of it
]


def alert_rule(rule: str, when: str, state: str, value: float | None, **more: Any) -> dict[str, Any]:
    sent = {"id": "msg_1", "channel": "ops", "kind": "firing", "status": "sent", "error": None}
    return {
        "model": "flights",
        "rule": rule,
        "when": when,
        "severity": "critical",
        "to": ["ops"],
        "state": state,
        "since": iso(NOW - timedelta(hours=5)),
        "value": value,
        "threshold": 0.3,
        "reason": None,
        "columns": [],
        "muted_until": None,
        "comparisons": [{"name": when.split(" ")[0], "value": value, "rows": 420, "operator": ">", "threshold": 0.3}],
        "deliveries": [sent] if state == "firing" else [],
        **more,
    }


def alert_rules() -> list[dict[str, Any]]:
    drifted = ["temperature", "humidity", "destination"]
    return [
        alert_rule("labels.coverage < 0.9", "labels.coverage < 0.9", "ok", 0.9712, severity="warning"),
        alert_rule("summer", "drift.share > 0.2", "firing", 0.3, columns=drifted),
        alert_rule(
            "performance.roc_auc.high < 0.7",
            "performance.roc_auc.high < 0.7",
            "unknown",
            None,
            reason="too few rows: 41, 100 needed",
        ),
    ]


def hostile() -> Answers:
    """The same model with payloads for its name, its versions, features, categories, label, sources and values."""
    model = HOSTILE[2] + "/" + HOSTILE[11]
    base = f"/v1/models/{quote(model, safe='')}"
    answers: Answers = {}
    one, two = HOSTILE[0], HOSTILE[-1]
    for path, (status, answer) in flights().items():
        if path == "/v1/models":
            item = {**answer["models"][0], "model": model, "versions": [one, two]}
            item["health"] = {"status": HOSTILE[3], "reasons": HOSTILE}
            item["alerts"] = [{"rule": name, "severity": name, "since": iso(NOW)} for name in HOSTILE]
            others = [{**item, "model": name} for name in HOSTILE]
            answers[path] = (status, {"models": [item, *others]})
        elif path == "/v1/models/flights":
            versions = [{**v, "version": n} for v, n in zip(answer["versions"], (one, two), strict=True)]
            references = [{**answer["references"][0], "id": HOSTILE[4], "model_version": HOSTILE[1]}]
            config = {"task": HOSTILE[2], "primary_label": HOSTILE[3]}
            health = {"status": HOSTILE[3], "reasons": HOSTILE}
            changed = {"model": model, "versions": versions, "references": references, "config": config}
            alerts = [{"rule": name, "severity": name, "since": iso(NOW)} for name in HOSTILE]
            answers[base] = (status, {**answer, **changed, "health": health, "alerts": alerts})
        elif path.endswith("/alerts"):
            rules = [
                alert_rule(name, name, "firing", 0.4, severity=name, columns=[name], to=[name]) for name in HOSTILE
            ]
            rules += [alert_rule(f"{name} ", name, "unknown", None, reason=name) for name in HOSTILE]
            answers[f"{base}/alerts"] = (status, {**answer, "rules": rules})
        elif path.endswith("/labels"):
            answers[f"{base}/labels"] = (status, labels(HOSTILE[2]))
        elif path.endswith("/traffic") and "flights" in path:
            points = [{**p, "version": one if p["version"] == "1" else two} for p in answer["points"]]
            answers[f"{base}/traffic"] = (status, {**answer, "points": points})
        elif "/performance" in path:
            version = one if path.endswith("1") else two
            answer["label"] = HOSTILE[3]
            answer["overall"]["metrics"][HOSTILE[2]] = 0.5
            answers[f"{base}/performance?version={version}"] = (status, answer)
        elif path.endswith(("/drift", "/skew")):
            answers[base + path[path.rindex("/") :]] = (status, drift("reference", HOSTILE))
        elif path.endswith("/compare"):
            answers[f"{base}/compare"] = (status, {**answer, "a": one, "b": two, "metric": HOSTILE[2]})
        elif path == "/v1/exports":
            exports = [{**e, "id": HOSTILE[i], "manifest": None} for i, e in enumerate(answer["exports"])]
            answers[path] = (status, {"exports": exports})
        elif path == "/v1/status":
            answers[path] = (status, {**answer, "version": HOSTILE[2], "store": HOSTILE[0]})
    answers[f"{base}/multivariate-drifts"] = (200, multivariate(HOSTILE))
    answers |= {f"{base}/{end}": answer for end, answer in carried(HOSTILE[:12]).items()}
    for name in HOSTILE:
        answers[f"{base}/features/{quote(name, safe='')}"] = (200, feature(name, "categorical", HOSTILE))
    extra: dict[str, Any] = dict(zip(HOSTILE, reversed(HOSTILE), strict=True))
    answers[f"/v1/predictions/{quote(HOSTILE[2], safe='')}"] = (200, story(HOSTILE[2], model, HOSTILE[6], extra))
    named = [
        writer(
            name,
            HOSTILE[0],
            host=name,
            sdk=name,
            models=[name, model],
            counters={name: 5},
            missing=5,
            explained={name: 5},
        )
        for name in HOSTILE
    ]
    waiting = [orphan(name, name, source=name, model=name, item_id=name, value=name) for name in HOSTILE]
    kept = [refused(name, name, loc=name, model=name, kind=name, payload_text=name) for name in HOSTILE]
    return answers | writers_answers(named) | intake_answers(waiting, kept)
