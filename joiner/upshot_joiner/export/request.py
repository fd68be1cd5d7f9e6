"""What an export is asked to be."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

_SAFE_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")


def _folder(value: str) -> str:
    """A relative folder of plain names: nothing in it can lead out of the export folder."""
    parts = value.split("/")
    if len(parts) > 8 or not all(_SAFE_PART.match(part) for part in parts):
        raise ValueError("a destination is a folder name below the export folder: letters, digits, '.', '_', '-', '/'")
    return value


class ExportRequest(BaseModel):
    """``POST /v1/exports``; everything but ``model`` may be left out. Times need an offset."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Annotated[str, Field(min_length=1, max_length=256)]
    start: AwareDatetime | None = None
    """Predictions made at or after this moment; none: from the first."""
    end: AwareDatetime | None = None
    """Predictions made before this moment; none: to the last."""
    as_of: AwareDatetime | None = None
    """Only what had been received by this moment; none: now."""
    format: Literal["parquet"] = "parquet"
    destination: Annotated[str, AfterValidator(_folder)] | None = None
    """A folder below the server's export folder; none: the export's own ID."""
    force: bool = False
    """Export also where rows are censored, because their label's feed was silent; the manifest says so."""

    def fixed_as_of(self, moment: datetime) -> ExportRequest:
        """The same request with its moment fixed."""
        return self.model_copy(update={"as_of": moment})
