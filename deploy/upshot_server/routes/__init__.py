"""The HTTP routes, one file per subject; each only reads its request, asks the parts, and writes the answer."""
