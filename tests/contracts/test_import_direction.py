"""Imports run one way: upshot_server → upshot_monitoring → upshot_joiner → upshot; and each library has its border."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = {
    "upshot": ROOT / "logger/upshot",
    "upshot_joiner": ROOT / "joiner/upshot_joiner",
    "upshot_monitoring": ROOT / "monitoring/upshot_monitoring",
    "upshot_server": ROOT / "deploy/upshot_server",
}
ORDER = list(FOLDERS)
"""Each package may import those before it."""

BORDERS = {
    "apprise": {"monitoring/upshot_monitoring/alerts/channels/services.py"},
    "clickhouse_connect": {"joiner/upshot_joiner/store/driver.py"},
    "chdb": set(),
    "kafka": {"logger/upshot/delivery/transport/kafka.py", "joiner/upshot_joiner/intake/kafka/client.py"},
    "jmespath": {"joiner/upshot_joiner/intake/webhooks/expression.py"},
    "evidently": {"monitoring/upshot_monitoring/reports/evidently_worker.py"},
    "feast": set(),
    "mlflow": {"logger/upshot/integrations/mlflow.py"},
    "sklearn": {
        "logger/upshot/integrations/sklearn.py",
        "monitoring/upshot_monitoring/multivariate/learner.py",
        "deploy/upshot_server/demo/model.py",
        "deploy/upshot_server/demo/story.py",
    },
    "sqlalchemy": {"deploy/upshot_server/labels/pull/database.py"},
    "uvicorn": {"deploy/upshot_server/app.py", "deploy/upshot_server/demo/service.py"},
}
"""The only files that may import a library; FastAPI has a package of its own, below."""


def imports(file: Path) -> set[str]:
    """Full names of the modules that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            found |= {node.module or ""}
    return found


def files(package: str) -> list[Path]:
    """All modules of a package."""
    return sorted(FOLDERS[package].rglob("*.py"))


@pytest.mark.parametrize("package", ORDER)
def test_a_package_imports_only_those_below_it(package: str) -> None:
    """No module imports a package that stands after its own in the order."""
    above = set(ORDER[ORDER.index(package) + 1 :])
    for file in files(package):
        tops = {name.partition(".")[0] for name in imports(file)}
        assert not tops & above, f"{file.relative_to(ROOT)} imports {tops & above}"


@pytest.mark.parametrize("library", BORDERS)
def test_a_library_is_met_at_its_border_only(library: str) -> None:
    """Foreign libraries are imported by their border file and nowhere else."""
    users = {
        str(file.relative_to(ROOT))
        for package in ORDER
        for file in files(package)
        if library in {name.partition(".")[0] for name in imports(file)}
    }
    assert users <= BORDERS[library]


def test_the_sdk_meets_pyarrow_for_frames_alone() -> None:
    """Who logs no frames needs no pyarrow."""
    for file in files("upshot"):
        if "pyarrow" in {name.partition(".")[0] for name in imports(file)}:
            assert file.parent == ROOT / "logger/upshot/capture/frames", file


def test_the_web_framework_lives_in_the_server_package_only() -> None:
    """FastAPI and Starlette are met by upshot_server alone."""
    for package in ORDER[:-1]:
        for file in files(package):
            tops = {name.partition(".")[0] for name in imports(file)}
            assert not tops & {"fastapi", "starlette"}, file


def test_every_package_says_what_enters_and_leaves() -> None:
    """The docstring of every package is there, and no module is called by a name that says nothing."""
    for package in ORDER:
        for file in files(package):
            assert ast.get_docstring(ast.parse(file.read_text("utf-8"))), f"{file.relative_to(ROOT)} has no docstring"
            assert file.stem not in {"utils", "common", "helpers", "manager", "base", "misc"}, file


@pytest.mark.parametrize("package", ORDER)
def test_every_package_ships_its_types(package: str) -> None:
    """py.typed is there."""
    assert (FOLDERS[package] / "py.typed").exists()
