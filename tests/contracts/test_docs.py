"""The documentation is true: what it names exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from upshot_joiner.config import read_config
from upshot_server.cli import app

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
TESTS = "\n".join(file.read_text("utf-8") for file in (ROOT / "tests").rglob("*.py"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    """Relative links in the documentation lead to files of the repository."""
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_promise_names_tests_that_exist() -> None:
    """A renamed or deleted test makes the promise visible as unproven."""
    named = re.findall(r"`(test_\w+)`", (ROOT / "docs/guarantees.md").read_text("utf-8"))
    assert len(named) > 20
    missing = [name for name in named if f"def {name}(" not in TESTS]
    assert missing == []


def test_every_route_of_the_documentation_is_served_and_the_reverse() -> None:
    """docs/api.md lists exactly the routes of the API."""
    from upshot_server.routes import (
        alerts,
        cloudevents,
        drift,
        exports,
        feeds,
        health,
        hooks,
        intake,
        models,
        monitoring,
        multivariate,
        pulls,
        replay,
        row_skew,
        verify,
        waiting,
        writers,
    )

    nothing = None
    served = set()
    for routes in (
        intake,
        cloudevents,
        hooks,
        pulls,
        writers,
        waiting,
        replay,
        models,
        monitoring,
        drift,
        multivariate,
        row_skew,
        exports,
        feeds,
        alerts,
        health,
        verify,
    ):
        for route in routes.router(nothing).routes:  # type: ignore[attr-defined]
            path = re.sub(r"\{model:path\}", "{model}", route.path)
            path = (
                re.sub(r"\{(\w+):path\}", r"{\1}", path)
                .replace("{export_id}", "{id}")
                .replace("{report_id}", "{id}")
                .replace("{row_skew_id}", "{id}")
                .replace("{drift_id}", "{id}")
                .replace("{round_id}", "{id}")
            )
            served |= {(method, path) for method in route.methods}
    text = (ROOT / "docs/api.md").read_text("utf-8")
    for method, path in sorted(served):
        if path.endswith("/html"):
            assert "`/html`" in text
            continue
        short = path.rsplit("/", 1)[-1]
        assert path in text or f"`/{short}`" in text, f"{method} {path} is not documented"
    known = {path for _, path in served}
    for path in re.findall(r"`(?:GET|POST|PUT|DELETE)(?:`, `POST)? (/[^`?]*)`", text):
        assert path in known | {"/openapi.json"}, f"{path} is documented and not served"


def test_the_example_configuration_is_valid() -> None:
    """The YAML of docs/configuration.md is accepted as it stands."""
    [block] = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/configuration.md").read_text("utf-8"), re.DOTALL)
    config = read_config(yaml.safe_load(block)["models"]["fraud"])
    assert config.labels["chargeback"].default == 0


def test_every_command_of_the_readme_exists() -> None:
    """`upshot …` in the README and in docs is a command with these options; `make …` is a target."""
    runner = CliRunner()
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for page in PAGES:
        text = page.read_text("utf-8")
        for command, options in re.findall(r"^upshot ([a-z]+(?: [a-z]+(?= ))?)([^\n#]*)", text, re.MULTILINE):
            shown = runner.invoke(
                app, [*command.split(), "--help"], env={"COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1"}
            ).output
            for option in re.findall(r"--[a-z-]+", options):
                assert command == "demo" or option in shown, f"{page.name}: upshot {command} {option}"
        for target in re.findall(r"`make ([a-z0-9-]+)", text) + re.findall(r"^make ([a-z0-9-]+)", text, re.MULTILINE):
            assert target in targets, f"{page.name}: make {target}"


def test_the_changelog_starts_with_the_version_that_is_built() -> None:
    """Either it is unreleased, or its heading is there."""
    from upshot import __version__

    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert "## Unreleased" in text or f"## {__version__}" in text
