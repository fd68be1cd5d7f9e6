"""The methods of multivariate drift, one file each: what it detects, its formula, an example, the paper.

In: two sides as one table of numbers. Out: a statistic and how probable it is by chance.
Promises: no store, no model, no clock; the same input gives the same output.
"""
