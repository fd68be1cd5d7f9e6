"""The ClickHouse side: connections, schema, the typed table of each model.

In: blocks of rows as Arrow tables, SQL with server-side parameters. Out: rows.
Promises: an insert is one atomic block, on disk when it returns; identifiers in SQL are generated here, never taken from input.
"""
