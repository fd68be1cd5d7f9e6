"""Numbered ``.sql`` files with the tables of monitoring; :meth:`upshot_joiner.store.client.Store.migrate` applies each once."""
