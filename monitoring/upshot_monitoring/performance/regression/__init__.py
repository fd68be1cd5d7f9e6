"""Metrics of a regression model.

In: sums over rows with e = predicted - actual, and weights of |e| by narrow bins. Out: metrics with 95 % intervals.
Promises: everything but quantiles is exact; sums of y are kept about a centre near it, so no digits are lost far from 0.
"""
