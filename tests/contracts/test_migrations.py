"""Migrations are told apart, and ordered, by their numbers."""

from __future__ import annotations

from collections import Counter
from importlib import resources

import pytest

from upshot_server.parts import SCHEMAS

DOUBLE = {"upshot_joiner.store.schema": {"0020": 2, "0021": 2}}
"""Released before this test was, and named in stores that exist: they stay as they are."""


@pytest.mark.parametrize("package", SCHEMAS)
def test_every_migration_has_a_number_of_its_own(package: str) -> None:
    """Four digits, so that the order of names is that of numbers; two that were numbered alike by two people have no order."""
    names = [file.name for file in resources.files(package).iterdir() if file.name.endswith(".sql")]
    assert names
    numbers = Counter(name.partition("_")[0] for name in names)
    assert all(len(number) == 4 and number.isdigit() for number in numbers)
    assert {number: n for number, n in numbers.items() if n > 1} == DOUBLE.get(package, {})
