"""What ``/labels`` says of delays: the curve with its band, and what windows would lose, in numbers and in words."""

from __future__ import annotations

from typing import Any

from upshot_joiner.config import LabelConfig, ModelConfig
from upshot_joiner.delays import window_advice
from upshot_joiner.delays.bins import end_s
from upshot_joiner.delays.delay_curve import DelayCurve, Share
from upshot_joiner.delays.watched import OfLabel
from upshot_joiner.delays.window_advice import Candidate

LOSES = (0.01, 0.05)
"""The shares of late labels that a window is recommended for."""


def delays(of: OfLabel, curve: DelayCurve) -> dict[str, Any]:
    """``delay_curve``, ``delay_band``, ``delay_s`` and ``arrival``; times in seconds, shares of all predictions."""
    at = {step.bin: of.seconds[step.bin] / step.arrived for step in curve.steps}
    shares = {step.bin: curve.share_by(end_s(step.bin)) for step in curve.steps}
    last = curve.share_by(end_s(curve.steps[-1].bin)) if curve.steps else None
    return {
        "delay_s": {f"p{percent}": _quantile(curve, at, percent / 100) for percent in (50, 90, 99)},
        "delay_curve": [[at[bin_], share.value] for bin_, share in shares.items()],
        "delay_band": [[at[bin_], share.low, share.high] for bin_, share in shares.items()],
        "arrival": {
            "watched": curve.predictions,
            "arrived": curve.arrived,
            "followed_s": curve.followed_s(),
            "share": last and last.value,
            "low": last and last.low,
            "high": last and last.high,
        },
    }


def advice(of: OfLabel, watched: dict[int, int], name: str, config: ModelConfig) -> dict[str, Any]:
    """What the configured window and others would lose, and the shortest that lose little."""
    rules = config.label(name)
    positives = config.task == "binary" and sum(of.positives.values()) > 0
    curve = of.curve_of_positives(watched) if positives else of.curve(watched)
    horizon = window_advice.horizon_s(curve)
    if rules.late == "reject" and positives:  # of what came later, the value is not in the outcome
        horizon = min(horizon, rules.window.total_seconds())
    enough = curve.arrived >= window_advice.FEWEST
    judged = window_advice.candidates(curve, rules.window.total_seconds(), horizon) if enough else []
    of_what = "positives" if positives else "labels"
    configured = next((one for one in judged if one.window_s == rules.window.total_seconds()), None)
    told = {
        "of": of_what,
        "arrived": curve.arrived,
        "needed": window_advice.FEWEST,
        "horizon_s": horizon,
        "windows": [_window(one, of_what, rules, config) for one in judged],
        "configured": configured and _window(configured, of_what, rules, config),
        "recommended": {f"{loses:g}": window_advice.shortest(judged, loses) if enough else None for loses in LOSES},
    }
    told["text"] = _text(told, configured, rules, of_what)
    return told


def _quantile(curve: DelayCurve, at: dict[int, float], of_those_that_come: float) -> float | None:
    if not curve.steps:
        return None
    wanted = of_those_that_come * (1 - curve.steps[-1].after.value)
    return next((at[step.bin] for step in curve.steps if 1 - step.after.value >= wanted * (1 - 1e-12)), None)


def _window(one: Candidate, of_what: str, rules: LabelConfig, config: ModelConfig) -> dict[str, Any]:
    late = one.late
    return {
        "window_s": one.window_s,
        "late": late and late.value,
        "low": late and late.low,
        "high": late and late.high,
        "text": f"{_sentence(one.window_s, late, of_what, rules, config)}.",
    }


def _sentence(window_s: float, late: Share | None, of_what: str, rules: LabelConfig, config: ModelConfig) -> str:
    window = f"A window of {_spoken(window_s)}"
    if late is None:
        return f"{window} cannot be judged yet: no prediction has been watched for that long"
    lost = (
        f"{window} would {{}} {_percent(late.value)} of {of_what} {{}} ({_percent(late.low)} to {_percent(late.high)})"
    )
    if of_what == "positives" and rules.default is not None and rules.default != config.positive:
        return lost.format("turn", "into false negatives")
    return lost.format("close before", "have come")


def _text(told: dict[str, Any], configured: Candidate | None, rules: LabelConfig, of_what: str) -> str:
    if configured is None:
        return f"{told['arrived']} {of_what} have come so far; from {told['needed']} on, windows can be judged."
    sentences = [told["configured"]["text"]]
    for loses, window_s in told["recommended"].items():
        if window_s is not None:
            sentences.append(f"{_spoken(window_s).capitalize()} is enough to lose at most {_percent(float(loses))}.")
            break
    else:
        sentences.append(f"No window up to {_spoken(told['horizon_s'])} surely loses less than 5 %.")
    return " ".join(sentences)


def _spoken(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def _percent(share: float) -> str:
    if 0 < share < 0.0005:
        return "<0.1 %"
    if 0.9995 <= share < 1:
        return ">99.9 %"
    return f"{share * 100:.1f} %".replace(".0 %", " %")
