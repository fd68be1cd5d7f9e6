"""Upshot where people already are: one module for each library, imported only by those who use it.

In: what the library holds anyway (a web request, a fitted estimator, a loaded model, a feature store's answer). Out: the same calls
of `upshot.Logger` that anyone could make. Promise: the library's own results and errors stay what they were, and nothing is
raised because of logging. Importing this package imports none of those libraries.
"""
