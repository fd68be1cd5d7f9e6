"""From a request body to rows on disk.

``body`` (decompress, within limits) → ``decode`` (events, or what is wrong with them; ``packed`` and ``arrow`` for those forms) →
``check`` (normal form) → ``committer`` (groups of many requests, one write each). In: bytes. Out: stored rows and an answer per
request. Promises: one bad event never loses another; nothing is answered before it is on disk; whatever is refused is kept in
quarantine.
"""
