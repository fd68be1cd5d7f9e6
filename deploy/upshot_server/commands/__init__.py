"""Groups of the ``upshot`` command line that are too large for ``cli.py``: options in, calls of the code that does the work."""
