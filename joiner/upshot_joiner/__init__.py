"""From events to joined rows.

In: prediction and label events, over HTTP (``intake``). Out: the served features and predictions, the ledger of labels, and
the outcome of every prediction (``store``, ``join``), and training sets (``export``).
Promises: what was acknowledged is stored; any order and any repetition of the same events gives the same outcomes; one row
per prediction in every read.
"""
