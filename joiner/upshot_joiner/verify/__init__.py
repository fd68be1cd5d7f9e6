"""What is stored is counted again, and made right where it is wrong.

In: the ledger, the spine, the typed tables; what the joiner made of them. Out: how much was looked at, was wrong, was repaired.
Promises: everything derived equals the fold of what was received, or becomes it; what cannot be repaired is said. It runs beside
the traffic at a bounded share of the time, in ranges of keys, and changes nothing that is right.
"""
