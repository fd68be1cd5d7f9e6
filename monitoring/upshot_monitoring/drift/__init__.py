"""How far one profile is from another, and whether that is a verdict.

In: two profiles of the same column. Out: a statistic per method, and for each feature a verdict with method, statistic,
threshold and both row counts.
Promises: the method of a feature depends on its type, never on how many rows there are; no verdict where none can be defended;
a broken column is one honest row, never a failed answer.
"""
