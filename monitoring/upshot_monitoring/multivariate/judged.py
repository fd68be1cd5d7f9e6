"""From what the worker found to verdicts: the threshold of each method, and chance among all methods of the window together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from upshot_monitoring.drift.discoveries import benjamini_yekutieli


def judge(found: Mapping[str, Mapping[str, Any]], thresholds: Mapping[str, float], rate: float) -> list[dict[str, Any]]:
    """A verdict for each method that was asked for. ``found``: by method, ``statistic`` and ``p_value``, or a ``reason``.

    ``drift`` is a statistic from its threshold on that is no chance among all methods of this window (Benjamini-Yekutieli at
    ``rate``); beyond the threshold and perhaps chance is ``no_verdict``.
    """
    tested = [name for name, one in found.items() if one.get("statistic") is not None]
    beyond = {name: found[name]["statistic"] >= thresholds[name] for name in tested}
    # As for features: what is not beyond its threshold is no finding, however improbable.
    p_values = [found[name]["p_value"] if beyond[name] else 1.0 for name in tested]
    discoveries = benjamini_yekutieli(p_values, rate)
    adjusted = dict(zip(tested, discoveries.adjusted, strict=True))
    judged = []
    for name, one in found.items():
        verdict, reason = "ok", None
        if name not in adjusted:
            verdict, reason = "no_verdict", one.get("reason") or "not said why"
        elif beyond[name] and one["p_value"] <= discoveries.cutoff:
            verdict = "drift"
        elif beyond[name]:
            verdict = "no_verdict"
            among = f"among {len(tested)} methods" if len(tested) > 1 else "alone"
            reason = f"may be chance: p = {one['p_value']:.2g}, and {among} {discoveries.cutoff:.2g} is needed"
        figures = {key: value for key, value in one.items() if key not in ("statistic", "p_value", "reason")}
        judged.append(
            {
                "method": name,
                "statistic": one.get("statistic"),
                "threshold": thresholds[name],
                "direction": "above",
                "p_value": one.get("p_value"),
                "adjusted_p_value": adjusted.get(name),
                "verdict": verdict,
                "reason": reason,
                **figures,
            }
        )
    return judged
