"""The rules of a model, as its configuration has them, understood and checked."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Collection
from dataclasses import dataclass

from upshot_joiner.config import AlertConfig, ModelConfig
from upshot_joiner.errors import Place, Problem
from upshot_monitoring.alerts import names
from upshot_monitoring.alerts.expression import Expression, WrongExpression, comparisons, parse

MAX_RULES = 200
MAX_CHANNELS = 20
"""Of one rule."""


@dataclass(frozen=True)
class Rule:
    """One rule. ``when`` and ``until`` are None where the stored text cannot be understood any more (``trouble`` says why)."""

    key: str
    """Its name, or its text: what tells it from the model's other rules."""
    config: AlertConfig
    when: Expression | None
    until: Expression | None
    trouble: str = ""

    @property
    def fingerprint(self) -> str:
        """Changes when the rule asks for something else: an incident of the old rule is not one of the new."""
        asked = f"{self.config.when}\0{self.config.until or ''}"
        return hashlib.sha256(asked.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def rules_of(config: ModelConfig) -> list[Rule]:
    """The rules of a stored configuration. Never raises: what cannot be understood is a rule that is never known."""
    found: dict[str, Rule] = {}
    for one in config.alerts:
        key = one.name or one.when
        try:
            rule = Rule(key, one, understood(one.when, config), understood(one.until, config) if one.until else None)
        except WrongExpression as error:
            rule = Rule(key, one, None, None, f"the rule cannot be understood: {error}")
        found.setdefault(key, rule)
    return list(found.values())


def understood(text: str, config: ModelConfig) -> Expression:
    """An expression that asks for what there is. Raises :class:`WrongExpression`."""
    found = parse(text)
    for one in comparisons(found):
        names.check(one, config)
    return found


def check(config: ModelConfig, channels: Collection[str]) -> None:
    """Raise a 422 :class:`Problem` that names every wrong place: ``alerts.0.when[14]`` is character 14 of the first rule."""
    places: list[Place] = []
    hints: list[str] = []
    seen: set[str] = set()
    if len(config.alerts) > MAX_RULES:
        places.append({"loc": "alerts", "code": "too_many"})
    for i, one in enumerate(config.alerts[:MAX_RULES]):
        if len(one.to) > MAX_CHANNELS:
            places.append({"loc": f"alerts.{i}.to", "code": "too_many"})
        for field, text in (("when", one.when), ("until", one.until)):
            if text is None:
                continue
            try:
                understood(text, config)
            except WrongExpression as error:
                places.append({"loc": f"alerts.{i}.{field}[{error.at}]", "code": error.code})
                hints += _hint(text, error)
        places += [
            {"loc": f"alerts.{i}.to.{j}", "code": "unknown_channel"}
            for j, name in enumerate(one.to)
            if name not in channels
        ]
        if (one.name or one.when) in seen:
            places.append({"loc": f"alerts.{i}", "code": "repeated_rule"})
        seen.add(one.name or one.when)
    if places:
        if any(place["code"] == "unknown_channel" for place in places):
            hints.append("channels are set up on the server, see docs/alerts.md")
        said = f" ({'; '.join(dict.fromkeys(hints))})" if hints else ""
        raise Problem(422, "invalid_config", f"The alert rules have errors{said}.", places)


def check_one(text: str, config: ModelConfig, loc: str) -> Expression:
    """An expression of a request. Raises a 422 :class:`Problem` with the place in it."""
    try:
        return understood(text, config)
    except WrongExpression as error:
        hints = _hint(text, error)
        said = f" ({'; '.join(hints)})" if hints else ""
        places: list[Place] = [{"loc": f"{loc}[{error.at}]", "code": error.code}]
        raise Problem(422, "invalid_alert_rule", f"The rule cannot be understood{said}.", places) from None


def _hint(text: str, error: WrongExpression) -> list[str]:
    """The known names that are nearest to a misspelt one. Only names of ours are said, never the text."""
    if error.code != "unknown_name":
        return []
    written = text[error.at :].split("[")[0].split()[0]
    near = difflib.get_close_matches(written, names.NAMES, n=3, cutoff=0.6) or sorted(names.NAMES)
    return [f"there is {', '.join(near)}, performance.<metric>"]
