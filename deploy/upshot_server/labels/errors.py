"""Why labels cannot be brought, one tree::

UpshotError
└── LabelsError
    ├── WrongInput       options that do not fit together or to the source; nothing was sent
    ├── Unreadable       the source is damaged from some place on; what came before it was sent
    └── NotNow           the server (or the database) cannot be reached now: run it again later and it goes on
"""

from __future__ import annotations

from upshot.errors import UpshotError


class LabelsError(UpshotError):
    """Labels of a source cannot be brought to the server."""


class WrongInput(LabelsError):
    """Options that do not fit together, or not to the source. Nothing was sent."""


class Unreadable(LabelsError):
    """The source cannot be read from some place on. What came before was sent."""


class NotNow(LabelsError):
    """The server or the database does not answer now. Running the same again later goes on where it was."""


def printable(text: str) -> str:
    """Text of a source (the name of a column, say) as a terminal may show it: control characters are escaped."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)
