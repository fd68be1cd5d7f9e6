"""What KServe's inference logger sends, as predictions.

In: CloudEvents (``cloudevent.py``), two for each inference, its request and its response, in any order and any number of times.
Out: one prediction for each row of the request (``inference.py``, from the bodies that ``bodies.py`` reads). Promises: an event is
answered when it is stored; a half that waits for the other survives a restart; one that waits in vain ends in quarantine
(``pairing.py``).
"""
