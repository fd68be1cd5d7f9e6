"""From joined rows to answers about a model: its inputs, its drift, its performance.

In: the served tables, the outcomes, the hours that changed, training sets (``references``). Out: hourly profiles that add up
exactly (``profiles``), verdicts (``drift``), metrics of matured rows with intervals (``performance``), Evidently reports
(``reports``), pages (``dashboard``).
Promises: a merged profile equals a recomputed one; a verdict names its method, threshold and rows; undefined is not zero.
"""
