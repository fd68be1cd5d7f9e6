"""Label events become outcomes.

In: the ledger of label events and the spine of predictions. Out: one outcome per label of each prediction.
Promises: the outcome is a pure fold of the events: their order of arrival, repetition and batching do not matter; every label
finds its prediction however early or late it comes. ``rule.py`` says what the fold is, ``fold.py`` says it in SQL, and a
property test holds the two together.
"""
