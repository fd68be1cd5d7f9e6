"""Multivariate drift: what changed between features, where no single feature need have changed.

In: samples of the rows of a window and of its baseline. Out: for each method a statistic, a p-value, a verdict and what tells
the two sides apart; asked for, or given on every closed window of a model that is configured so.
Promises: everything is learnt in a process of its own with bounded memory and time; the same samples give the same numbers; a
column that cannot be used is left out and named, and never fails the others.
"""
