"""From the arguments of a call to an encoded event: what happens in the caller's thread."""
