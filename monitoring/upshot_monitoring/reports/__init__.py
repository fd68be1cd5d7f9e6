"""Reports made by Evidently, in a process of its own.

In: a model, a window, a baseline. Out: an HTML page and its numbers as JSON, kept in the data folder.
Promises: Evidently is never imported by the server; its charts show a sample, its scores are those of all rows; a report that
fails says why and harms nothing else.
"""
