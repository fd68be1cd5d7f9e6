"""The methods, one file each: what it detects, its parameters, its formula, a seeded example, the paper.

In: the cells of two profiles (or of all rows, or of draws; see ``cells.py``). Out: one number. Which kinds a method applies to, its
threshold and its direction are in ``registry.py``; what each must satisfy is checked for every registered one by
``tests/monitoring/test_conformance.py``.
"""
