"""How many examples a test of generated data plays."""

from __future__ import annotations

import os

_TIMES = int(os.environ.get("UPSHOT_TEST_EXAMPLES", "1"))


def examples(few: int) -> int:
    """Few in each run of the tests; ``UPSHOT_TEST_EXAMPLES`` times as many for those who look longer."""
    return few * _TIMES
