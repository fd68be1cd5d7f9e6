"""The statistic of all rows, on demand: "verify this number".

In: the rows of a window, the rows of its baseline, a column, a method. Out: the method's number computed by the store from every
row, without any profile, and how far the profile's number is from it.
Promises: within 1e-9 of SciPy's or NumPy's number on the same values; no value of a row leaves the store.
"""
