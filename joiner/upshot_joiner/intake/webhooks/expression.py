"""The one place where jmespath is used: expressions over somebody else's JSON, within bounds.

A JMESPath expression always ends, but a short one can make a huge result (``[@,@][]`` twice the list, forty times) and a cheap look
at it can cost as much (``to_string``, ``==``). So work is counted while it is done, before it is done where it could be much, and
whoever evaluates several expressions over one body gives them one :class:`Budget`.
"""

from __future__ import annotations

import re
from typing import Any

from jmespath.exceptions import JMESPathError
from jmespath.parser import Parser
from jmespath.visitor import TreeInterpreter

MAX_EXPRESSION_LENGTH = 1024
MAX_WORK = 1_000_000
"""Steps for one body: about a second. A body of 1 MiB with a thousand events of ten fields takes about 60,000."""
_TEXT_STEP = 64
"""Characters that are as much work as one step."""

_POSITION = re.compile(r"column (\d+)")


class TooCostly(Exception):  # the flow of an evaluation, not an error of ours
    """The budget is used up."""


class NotEvaluated(Exception):  # the same
    """An expression does not fit what it is applied to: ``length`` of a number, ``join`` of objects."""


class Budget:
    """How much may still be done for one body."""

    __slots__ = ("left",)

    def __init__(self, work: int = MAX_WORK) -> None:
        self.left = work

    def spend(self, work: int) -> None:
        """Raise :class:`TooCostly` when there is not so much left."""
        self.left -= work
        if self.left < 0:
            raise TooCostly


class Expression:
    """A compiled expression. ``text`` raises ValueError when it is none, with the place in it as the message."""

    def __init__(self, text: str) -> None:
        if not 0 < len(text) <= MAX_EXPRESSION_LENGTH:
            raise ValueError(f"an expression has 1 to {MAX_EXPRESSION_LENGTH} characters")
        try:
            self._tree = Parser().parse(text).parsed
        except JMESPathError as error:
            place = _POSITION.search(str(error))
            raise ValueError(f"no JMESPath expression{f' (column {place[1]})' if place else ''}") from None
        except (RecursionError, ValueError, TypeError, AttributeError, IndexError):
            # What its parser raises on texts that it was not written for, such as a literal with a lone surrogate.
            raise ValueError("no JMESPath expression") from None

    def evaluate(self, value: Any, budget: Budget) -> Any:
        """The result over a JSON value; None for what is not there. Raises :class:`TooCostly`, :class:`NotEvaluated`."""
        try:
            return _Interpreter(budget).visit(self._tree, value)
        except TooCostly:
            raise
        except Exception as error:  # its functions raise Python's own errors too: ceil(inf), a slice of step 0
            raise NotEvaluated from error


class _Interpreter(TreeInterpreter):
    """jmespath's own, with a budget."""

    def __init__(self, budget: Budget) -> None:
        super().__init__()
        self._budget = budget

    def visit(self, node: Any, *args: Any, **kwargs: Any) -> Any:
        self._budget.spend(1)
        return super().visit(node, *args, **kwargs)

    def visit_flatten(self, node: Any, value: Any) -> Any:
        base = self.visit(node["children"][0], value)
        if not isinstance(base, list):
            return None
        self._budget.spend(sum(len(one) + 1 if isinstance(one, list) else 1 for one in base))
        merged: list[Any] = []
        for one in base:
            merged.extend(one if isinstance(one, list) else [one])
        return merged

    def visit_slice(self, node: Any, value: Any) -> Any:
        if isinstance(value, list):
            self._budget.spend(len(value))
        return super().visit_slice(node, value)

    def visit_comparator(self, node: Any, value: Any) -> Any:
        return super().visit_comparator(self._weighed(node, value), value)

    def visit_function_expression(self, node: Any, value: Any) -> Any:
        weighed = self._weighed(node, value)
        given = [child["value"] for child in weighed["children"]]
        if node["value"] == "join" and len(given) == 2 and isinstance(given[0], str) and isinstance(given[1], list):
            self._budget.spend(len(given[0]) * len(given[1]) // _TEXT_STEP)
        return super().visit_function_expression(weighed, value)

    def _weighed(self, node: Any, value: Any) -> Any:
        """The node over what its children give, once that is known not to be too much."""
        given = [self.visit(child, value) for child in node["children"]]
        for one in given:
            self._weigh(one)
        return {**node, "children": [{"type": "literal", "value": one} for one in given]}

    def _weigh(self, value: Any) -> None:
        """Spend what a look at all of a value costs; what stands in it twice is looked at twice."""
        waiting = [value]
        while waiting:
            one = waiting.pop()
            if isinstance(one, list):
                self._budget.spend(1 + len(one))
                waiting.extend(one)
            elif isinstance(one, dict):
                self._budget.spend(1 + 2 * len(one))
                waiting.extend(one.values())
            elif isinstance(one, str):
                self._budget.spend(len(one) // _TEXT_STEP)
