"""Who does not use an integration does not pay for it."""

from __future__ import annotations

import subprocess
import sys

import pytest

LIBRARIES = {"fastapi", "starlette", "sklearn", "mlflow", "feast", "numpy", "pandas", "pyarrow"}


def loaded_by(statement: str) -> set[str]:
    """The libraries that are loaded after this statement, in an interpreter of its own."""
    code = f"import sys; {statement}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return LIBRARIES & set(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import upshot",
        "import upshot.integrations",
        "import upshot.integrations.rows",
        "import upshot.integrations.fastapi",
        "import upshot.integrations.feast",
    ],
)
def test_no_library_is_loaded(statement):
    """The FastAPI and Feast integrations meet their library's objects and need not import it."""
    assert loaded_by(statement) == set()


def test_the_proof_can_fail():
    assert "sklearn" in loaded_by("import upshot.integrations.sklearn")
