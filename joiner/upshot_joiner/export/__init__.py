"""Training sets: predictions, the features that were served and the labels that were known, as of a moment.

In: a request (model, range of prediction times, as of T). Out: a folder of Parquet parts and ``manifest.json``, written last.
Promises: exactly one row per prediction; types and values as they were served; the same request as of the same moment gives the
same bytes on any later day.
"""
