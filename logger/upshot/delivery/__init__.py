"""From queued events to the other side: what happens in threads of our own."""
