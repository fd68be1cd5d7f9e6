"""What users install: the built wheel holds everything that runs, and the SDK needs two small wheels alone."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILD = (sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d")
FOLDERS = ("logger", "joiner", "monitoring", "deploy")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    done = subprocess.run([*BUILD, str(folder)], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    [built] = folder.glob("upshot-*.whl")
    return zipfile.ZipFile(built)


def test_the_wheel_holds_every_file_of_the_packages(wheel: zipfile.ZipFile) -> None:
    """Python, SQL, templates, scripts, styles and py.typed."""
    tracked = subprocess.run(["git", "ls-files", *FOLDERS], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    expected = {path.split("/", 1)[1] for path in tracked.splitlines() if path.split("/")[1].startswith("upshot")}
    assert len(expected) > 100
    assert expected <= set(wheel.namelist())


def test_the_sdk_alone_needs_two_small_wheels(wheel: zipfile.ZipFile) -> None:
    """Everything else is behind an extra."""
    [name] = [name for name in wheel.namelist() if name.endswith("METADATA")]
    needs = [
        line.removeprefix("Requires-Dist: ")
        for line in wheel.read(name).decode().splitlines()
        if line.startswith("Requires-Dist")
    ]
    assert sorted(need.split(">")[0] for need in needs if "extra ==" not in need) == ["msgspec", "zstandard"]


def test_the_wheel_is_the_same_when_built_again(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    """Two builds of one tree are one file."""
    subprocess.run([*BUILD, str(tmp_path)], cwd=ROOT, capture_output=True, check=True)
    [again] = tmp_path.glob("upshot-*.whl")
    assert again.read_bytes() == Path(str(wheel.filename)).read_bytes()
