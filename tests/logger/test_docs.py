"""docs/sdk.md says what the code does, and its example runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from upshot.capture import convert
from upshot.settings import Settings

PAGE = (Path(__file__).parents[2] / "docs" / "sdk.md").read_text("utf-8")


def rows_of_table_with(head: str) -> dict[str, str]:
    """First column -> second column of the table whose head begins so."""
    lines = PAGE[PAGE.index(f"| {head}") :].split("\n\n")[0].splitlines()[2:]
    return {row[1].strip(): row[2].strip() for row in (line.split("|") for line in lines)}


def test_the_example_runs_as_it_is_printed(collector):
    """The first one, copied into a file and run against a server."""
    example = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]
    done = subprocess.run(
        [sys.executable, "-c", example],
        env={**os.environ, "UPSHOT_URL": collector.url},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "'stored': 2" in done.stdout
    (prediction,) = collector.predictions
    (label,) = collector.labels
    assert label.request_id == prediction.request_id
    assert prediction.features["embedding"] == [0.1, 0.2]


def test_every_setting_is_listed_with_its_default():
    """And nothing that does not exist."""
    listed = {}
    for names, defaults in ((k, rows_of_table_with("setting")[k]) for k in rows_of_table_with("setting")):
        of = re.findall(r"`(\w+)`", names)
        values = [value.strip(" `") for value in defaults.split(",")]
        listed.update(zip(of, values * len(of) if len(values) < len(of) else values, strict=False))
    defaults = Settings()
    assert listed == {name: str(getattr(defaults, name)) for name in Settings.__dataclass_fields__}


def test_every_counter_is_listed(logger):
    """Those of an unused logger are those that are always there."""
    for name in logger.stats():
        assert f"`{name}`" in PAGE, name


def test_every_reason_for_a_drop_is_listed():
    """Found in the source by the ways a reason is written."""
    source = "\n".join(path.read_text("utf-8") for path in Path(convert.__file__).parents[1].rglob("*.py"))
    reasons = set(re.findall(r'(?:dropped=|dropped\[|reason=|refuse\()"(\w+)"', source))
    assert {"close", "transport_failed", "after_close", "misconfigured"} <= reasons
    for reason in reasons:
        assert f"`{reason}`" in PAGE, reason
