"""Readers: bytes of a file (or standard input) in, rows out, one module per format."""
