"""Row-level skew: the values that were served against the values somebody recomputed for the same requests, one by one.

In: a table with request IDs and recomputed feature values. Out: per feature how many rows are equal, differ, are missing or
extra, how large the differences are, and examples.
Promises: the store compares; the table is streamed, never held in memory; the same table as of the same moment has the same answer.
"""
