"""No text from a request ever becomes part of a statement: values go as parameters, identifiers are generated."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

CANARY = "canary'`{x}"


@pytest.mark.timeout(420)  # a whole server, a worker process for reports and an export, on a busy machine
def test_nothing_that_was_sent_appears_in_a_statement(tmp_path: Path) -> None:
    """Every route used with a canary as every name and value: no statement holds it. A route that is added has to be used there."""
    recorder = Path(__file__).with_name("record_statements.py")
    done = subprocess.run(
        [sys.executable, recorder, tmp_path / "data", CANARY], capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["statements"] > 50, "the recorder must see the statements"
    assert found["bad"] == []
    assert found["unused"] == [], "use these in record_statements.py, with the canary wherever a text can be put"
