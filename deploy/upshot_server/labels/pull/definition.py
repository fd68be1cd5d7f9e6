"""What a pull is: a database, a query or table, its watermark, and how rows become events; from options or a YAML file."""

from __future__ import annotations

import os
import re
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any

import pydantic
import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict

from upshot_joiner.config import PositiveDuration
from upshot_server.labels.cells import TimeFormat, ValueType
from upshot_server.labels.errors import WrongInput, printable
from upshot_server.labels.events import Empty
from upshot_server.labels.mapping import ColumnMap
from upshot_server.labels.pull.watermark import Overlap
from upshot_server.labels.rules import IdBy, Rules

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def _text(value: object) -> object:
    """YAML reads 2026-01-01, 7 and true as what they look like; here they are texts."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime | date):
        return value.isoformat()
    return str(value) if isinstance(value, int | float) else value


Text = Annotated[str, BeforeValidator(_text)]


class PullDefinition(BaseModel):
    """One named pull."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    database: str
    """SQLAlchemy URL; ``${NAME}`` stands for an environment variable."""
    query: str = ""
    """SELECT with ``:watermark``, ordered by the watermark column."""
    table: str = ""
    """Instead of a query: every row of a table."""
    db_schema: str = pydantic.Field(default="", alias="schema")
    watermark: str
    """The column by which rows are passed once only; it must grow with every change of a row."""
    since: Text = ""
    """Where the first turn begins; needed with a query."""
    overlap: Text = ""
    every: PositiveDuration | None = None
    columns: dict[str, str] = {}
    set: dict[str, Text] = {}
    value_columns: list[str] = []
    value_type: ValueType = "auto"
    time_format: TimeFormat = "iso"
    timezone: str = ""
    nulls: list[Text] = []
    empty: Empty = "skip"
    id: str = "content"
    """``content`` or ``watermark``: whether a row that was touched without another value is a new event."""

    @pydantic.model_validator(mode="after")
    def _one_source(self) -> PullDefinition:
        if bool(self.query) == bool(self.table):
            raise ValueError("either a query or a table")
        if self.id not in ("content", "watermark"):
            raise ValueError("id is content or watermark")
        return self

    def rules(self) -> Rules:
        """How its rows become events. Raises WrongInput."""
        by: IdBy = "place" if self.id == "watermark" else "content"
        columns = ColumnMap.of(self.columns, self.set, self.value_columns)
        return Rules(columns, self.value_type, self.time_format, self.timezone, tuple(self.nulls), self.empty, by)

    def read_again(self) -> Overlap:
        """How far before the watermark a turn begins. Raises WrongInput."""
        return Overlap.parse(self.overlap)

    def url(self) -> str:
        """The URL with its variables filled in. Raises WrongInput for one that is not set."""

        def value(match: re.Match[str]) -> str:
            if match[1] not in os.environ:
                raise WrongInput(f"the environment variable {match[1]} is not set")
            return os.environ[match[1]]

        return _VARIABLE.sub(value, self.database)


def define(name: str, given: dict[str, Any]) -> PullDefinition:
    """A checked definition. Raises WrongInput, which names the place and never a value: a URL holds a password."""
    try:
        return PullDefinition.model_validate(given)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        raise WrongInput(f"pull {printable(name)}: {printable(place)}{': ' if place else ''}{said}") from None


def read_definitions(file: Path) -> dict[str, PullDefinition]:
    """The ``pulls:`` of a YAML file. Raises WrongInput."""
    try:
        content = yaml.safe_load(file.read_text("utf-8"))
    except OSError as error:
        raise WrongInput(f"{file}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        raise WrongInput(f"{file} is no YAML{f': line {mark.line + 1}' if mark is not None else ''}") from None
    pulls = content.get("pulls") if isinstance(content, dict) else None
    if not isinstance(pulls, dict) or not all(isinstance(one, dict) for one in pulls.values()):
        raise WrongInput(f"{file}: there is no `pulls:` with a section for each pull")
    return {str(name): define(str(name), one) for name, one in pulls.items()}
