"""Metrics of ranked slates: the items of one request, in the order of their scores.

In: sums over slates of NDCG, MAP, hit rate, precision and reciprocal rank, from ``rollup.py``; and the items as rows of a
binary model. Out: metrics of slates with 95 % intervals; a slate counts once, so that items which are clicked together are not
taken for independent. Promises: exact; slates without anything relevant have no NDCG and no MAP, and are misses of the others.
"""
