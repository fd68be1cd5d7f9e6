"""``upshot labels pull``: the rows of a SQL query past a watermark, as label events; the watermark is kept by the server."""
