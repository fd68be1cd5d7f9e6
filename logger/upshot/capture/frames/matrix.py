"""A frame from columns that are in no frame yet: those of a matrix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

__all__ = ["frame_of"]


def frame_of(columns: Mapping[str, Any]) -> Any:
    """A pyarrow Table of equally long columns (lists, NumPy arrays). Raises what pyarrow raises for those it cannot hold."""
    return pa.table(dict(columns))
