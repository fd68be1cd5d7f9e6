"""Row-level skew in plain Python: what the statement of the store has to find."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

ABSENT = object()


def state(value: Any) -> str:
    """What a value is."""
    if value is ABSENT:
        return "absent"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int" if -(2**63) <= value < 2**63 else "other"
    if isinstance(value, float):
        return "nan" if math.isnan(value) else "float"
    if isinstance(value, str):
        return "str"
    if value and {type(one) for one in value} == {int}:
        return "ints"
    return "floats" if value else "other"


def gap(a: Any, b: Any) -> float:
    """The difference of two numbers; NaN where it has none."""
    if isinstance(a, float) and math.isnan(a) and isinstance(b, float) and math.isnan(b):
        return 0.0
    if a == b:
        return 0.0
    if not (math.isfinite(a) and math.isfinite(b)):
        return math.nan
    return float(abs(a - b))


def is_close(a: Any, b: Any, absolute: float, relative: float) -> bool:
    """``math.isclose``, and NaN is NaN."""
    apart = gap(a, b)
    if math.isnan(apart):
        return False
    return apart == 0.0 or apart <= max(absolute, relative * max(abs(float(a)), abs(float(b))))


def judge(
    served: Any,
    recomputed: Any,
    absolute: float = 0.0,
    relative: float = 0.0,
    *,
    same_numbers: bool = False,
    same_blanks: bool = False,
) -> tuple[str, float, float]:
    """Outcome, difference and relative difference (0 where there is none, or none that can be measured) of one value."""
    s, r = state(served), state(recomputed)
    if same_blanks and r == "null" and s in ("absent", "null", "nan"):
        r = s
    if s == r == "absent":
        return "neither", 0.0, 0.0
    if s == "absent":
        return "extra", 0.0, 0.0
    if r == "absent":
        return "missing", 0.0, 0.0
    plain = {"null", "nan"}
    if s in plain or r in plain:
        return ("equal" if s == r else "mismatch"), 0.0, 0.0
    if {s, r} <= {"int", "float"}:
        pairs = [(served, recomputed)]
    elif {s, r} <= {"ints", "floats"}:
        if len(served) != len(recomputed):
            return "mismatch", 0.0, 0.0
        pairs = list(zip(served, recomputed, strict=True))
    elif s == r:
        return ("equal" if served == recomputed else "mismatch"), 0.0, 0.0
    else:
        return "kind_mismatch", 0.0, 0.0
    gaps = [gap(a, b) for a, b in pairs]
    measured = not any(math.isnan(one) for one in gaps)
    size = max(gaps) if measured else 0.0
    shares = [one / max(abs(float(a)), abs(float(b))) for one, (a, b) in zip(gaps, pairs, strict=True) if one > 0]
    share = max(shares) if measured and shares else 0.0
    if not all(is_close(a, b, absolute, relative) for a, b in pairs):
        return "mismatch", size, share
    return ("equal" if s == r or same_numbers else "kind_mismatch"), size, share


def expect(
    served: list[dict[str, Any]],
    recomputed: list[dict[str, Any]],
    names: list[str],
    absolute: float = 0.0,
    relative: float = 0.0,
    *,
    same_numbers: bool = False,
    same_blanks: bool = False,
) -> dict[str, Any]:
    """What a comparison has to say. Rows are ``request_id``, ``item_id``, ``model_version`` (None: any) and ``features``."""
    seen = set()
    pairs, not_served = [], 0
    for row in recomputed:
        identity = row["request_id"], row["item_id"], row["model_version"]
        if identity in seen:
            continue
        seen.add(identity)
        matches = [
            one
            for one in served
            if (one["request_id"], one["item_id"]) == identity[:2]
            and row["model_version"] in (None, one["model_version"])
        ]
        not_served += not matches
        pairs += [(one["features"], row["features"]) for one in matches]
    features = {}
    for name in names:
        counts: Counter[str] = Counter()
        states: Counter[tuple[str, str]] = Counter()
        sizes = []
        for was, is_ in pairs:
            a, b = was.get(name, ABSENT), is_.get(name, ABSENT)
            outcome, size, share = judge(a, b, absolute, relative, same_numbers=same_numbers, same_blanks=same_blanks)
            counts[outcome] += 1
            blank = same_blanks and b is None and state(a) in ("absent", "nan")
            states[state(a), state(a) if blank else state(b)] += 1
            if size > 0:
                sizes.append((size, share))
        features[name] = {"counts": counts, "states": states, "sizes": sizes}
    return {
        "repeated": len(recomputed) - len(seen),
        "not_served": not_served,
        "compared": len(pairs),
        "features": features,
    }
