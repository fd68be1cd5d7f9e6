"""Numbered SQL files, applied once each and in the order of their names.

A file is known by its name in ``schema_migrations``, so a file that was ever released is never renamed, and never changed: it would
be applied again, or not at all. That is why two files have the number 0020 and two 0021; they do not depend on each other. A
new file takes a number of its own (``tests/contracts/test_migrations.py``).
"""
