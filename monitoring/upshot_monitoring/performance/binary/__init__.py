"""Metrics of a binary model.

In: counts of positives and negatives by score (``cells.py``), of rows or of what rows are estimated to be. Out: metrics, each with
its influence function, from which every interval comes: of weighted rows, of open rows, of rows without any label.
Promises: a metric of cells that hold one score each is exact; undefined is left out, not 0.
"""
