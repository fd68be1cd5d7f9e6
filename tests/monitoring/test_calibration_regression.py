"""The regression behind calibration's slope and intercept, where it is close to having no answer."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from upshot_monitoring.performance.binary.calibration import _condition


@given(st.floats(-8, 8), st.floats(0, 11), st.floats(0, math.pi))
def test_the_condition_of_a_hessian_is_that_of_its_singular_values(size: float, spread: float, angle: float) -> None:
    """Up to where it is refused, to a part of what is left of a double there."""
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    hessian = turn @ np.diag([10.0**size, 10.0 ** (size - spread)]) @ turn.T
    hessian = (hessian + hessian.T) / 2
    assert _condition(hessian) == pytest.approx(np.linalg.cond(hessian), rel=0.01)


@pytest.mark.parametrize("hessian", [np.zeros((2, 2)), np.ones((2, 2)), np.diag([1.0, 0.0])])
def test_a_hessian_that_cannot_be_inverted_has_no_finite_condition(hessian: np.ndarray) -> None:
    """Also that of scores which are all the same, or of no rows."""
    assert _condition(hessian) == math.inf
