"""Metrics of a multiclass model.

In: the weights of pairs of actual and predicted class; log losses; scores of each class against the rest. Out: metrics with 95 %
intervals, and precision, recall and F1 of each class.
Promises: everything but the AUC is exact.
"""
