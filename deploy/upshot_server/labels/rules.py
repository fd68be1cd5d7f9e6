"""How rows become events, whatever they come from: what ``load`` and ``pull`` have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from upshot.wire import LabelEvent
from upshot_joiner.intake.check import NotAccepted
from upshot_server.labels.cells import Cells, TimeFormat, ValueType
from upshot_server.labels.errors import WrongInput, printable
from upshot_server.labels.events import Empty, EventMaker
from upshot_server.labels.mapping import ColumnMap

IdBy = Literal["content", "place"]


@dataclass(frozen=True)
class Rules:
    """What a user says about the rows of a source."""

    columns: ColumnMap = field(default_factory=ColumnMap)
    value_type: ValueType = "auto"
    time_format: TimeFormat = "iso"
    timezone: str = ""
    """IANA name of the zone of times without an offset; empty: such times are refused."""
    nulls: tuple[str, ...] = ()
    empty: Empty = "skip"
    id_by: IdBy = "content"
    """``place``: two equal rows of one source are two events."""

    def maker(
        self, columns: Sequence[str] | None, *, are_text: bool, id_of: Callable[[LabelEvent, int], str]
    ) -> EventMaker:
        """Fit the rules to a source with these columns; ``id_of`` makes the IDs ``id_by`` place. Raises WrongInput."""
        cells = Cells(are_text, self.value_type, self.time_format, zone(self.timezone), frozenset(self.nulls))
        resolved = self.columns.resolve(columns)
        try:
            return EventMaker(
                resolved, columns, cells, empty=self.empty, id_of=id_of if self.id_by == "place" else None
            )
        except NotAccepted as reason:
            raise WrongInput(f"--set {printable(reason.loc)}: {reason.code}") from reason

    def options(self) -> dict[str, Any]:
        """What of it makes a load another one."""
        return {
            "columns": dict(self.columns.columns),
            "constants": dict(self.columns.constants),
            "value_columns": list(self.columns.value_columns),
            "rules": [self.value_type, self.time_format, self.timezone, list(self.nulls), self.empty, self.id_by],
        }


def zone(name: str) -> ZoneInfo | None:
    """A time zone by its IANA name. Raises WrongInput for one that is not known."""
    if not name:
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise WrongInput(
            f"{printable(name)} is no time zone; zones are called Europe/Berlin, America/New_York, UTC"
        ) from error
