"""Subinterpreters are refused at import: the libraries that encode keep their state per process, not per interpreter."""

from __future__ import annotations

import importlib

__all__ = ["refuse_subinterpreter"]


def refuse_subinterpreter() -> None:
    """Raise ImportError in any but the main interpreter of a process."""
    for name in ("_interpreters", "_xxsubinterpreters"):  # from Python 3.13 on; before
        try:
            interpreters = importlib.import_module(name)
            current, main = interpreters.get_current(), interpreters.get_main()
        except (ImportError, AttributeError):
            continue
        # From Python 3.13 on each is (number, owner).
        if (current[0] if isinstance(current, tuple) else current) != (main[0] if isinstance(main, tuple) else main):
            raise ImportError(
                "upshot cannot be used in a subinterpreter; with mod_wsgi, set WSGIApplicationGroup %{GLOBAL}"
            )
        return
