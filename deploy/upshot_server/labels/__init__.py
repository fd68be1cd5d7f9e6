"""Labels that live in files and databases, brought to a running server.

What enters: files (CSV, Parquet, NDJSON) and the rows of a SQL query. What leaves: label events through ``POST /v1/labels``, and
what could not become one, listed with line and reason. ``read`` gives rows, ``mapping`` and ``cells`` make events of them,
``sender`` sends, ``load`` (files) and ``pull`` (databases) compose it. Memory is bounded by a batch, whatever the size of the
source; running anything twice changes nothing; and what was read is accepted, a duplicate, rejected or skipped, to the last row.
"""
