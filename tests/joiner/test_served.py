"""The typed tables of models, as earlier releases made them."""

from __future__ import annotations

from tests.joiner.conftest import Line
from upshot_joiner.store.client import Store
from upshot_joiner.store.served import table_name


def test_rows_of_a_release_without_flags_read_as_none_and_new_ones_have_theirs(store: Store, fresh: str) -> None:
    """The table is brought up to date when the server starts."""
    line = Line.open(store)
    line.predict({"request_id": f"{fresh}-old", "model": fresh, "features": {"x": 1}, "flags": {"features.x": "repr"}})
    table = line.served.table(fresh)
    line.close()
    store.command(f"ALTER TABLE {table} DROP COLUMN flags")  # as an earlier release left it
    line = Line.open(store)
    try:
        again = line.predict({"request_id": f"{fresh}-old", "model": fresh, "features": {"x": 1}})
        assert (again.accepted, again.duplicates) == (0, 1)
        line.predict(
            {"request_id": f"{fresh}-new", "model": fresh, "features": {"x": 2}, "flags": {"tags.t": "redacted"}}
        )
        [old] = line.story(f"{fresh}-old")["predictions"]
        [new] = line.story(f"{fresh}-new")["predictions"]
        assert (old["features"], old["flags"]) == ({"x": 1}, {})
        assert (new["features"], new["flags"]) == ({"x": 2}, {"tags.t": "redacted"})
    finally:
        line.close()


def test_a_table_that_is_not_in_the_catalogue_yet_is_brought_up_to_date_too(store: Store, fresh: str) -> None:
    """A crash may come between the table and its entry."""
    line = Line.open(store)
    line.predict({"request_id": fresh, "model": fresh})
    model = f"{fresh}-made-but-not-noted"
    store.command(f"CREATE TABLE {table_name(model)} AS {line.served.table(fresh)}")
    store.command(f"ALTER TABLE {table_name(model)} DROP COLUMN flags")
    line.close()
    line = Line.open(store)
    try:
        line.predict({"request_id": model, "model": model, "flags": {"tags.t": "redacted"}})
        assert line.story(model)["predictions"][0]["flags"] == {"tags.t": "redacted"}
    finally:
        line.close()
