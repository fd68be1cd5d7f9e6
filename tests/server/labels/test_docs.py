"""The examples of docs/labels.md do what the page shows."""

from __future__ import annotations

import contextlib
import re
import shlex
import sqlite3
from pathlib import Path

from tests.server.labels.commands import Commands

PAGE = Path(__file__).parents[3] / "docs/labels.md"
BLOCK = re.compile(r"(?:`([\w.-]+)`:\n\n)?```(\w+)\n(.*?)```", re.DOTALL)


DATABASE = """
CREATE TABLE orders (order_ref TEXT, is_chargeback INT, updated_at TIMESTAMP);
INSERT INTO orders VALUES ('o-17', 0, '2026-11-20 10:00:00'), ('o-18', 1, '2026-11-20 10:05:00');
CREATE TABLE refunds (order_ref TEXT, amount, changed_at TIMESTAMP);
INSERT INTO refunds VALUES ('o-17', 12, '2026-11-20 11:00:00');
"""


def test_the_examples_of_the_page_print_what_it_shows(labels: Commands) -> None:
    """Files named above a block are written, commands run in their order, and the text below each is its output."""
    blocks = BLOCK.findall(PAGE.read_text("utf-8"))
    with contextlib.closing(sqlite3.connect(labels.folder / "orders.db")) as database:
        database.executescript(DATABASE)
    shown = 0
    for (name, form, content), (_, next_form, expected) in zip(blocks, [*blocks[1:], ("", "", "")], strict=True):
        if name:
            (labels.folder / name).write_text(content)
        if form != "sh" or next_form != "text":
            continue
        [words] = [shlex.split(line) for line in content.splitlines()]
        assert words[:2] == ["upshot", "labels"]
        done = labels.run(*words[2:], ORDERS_URL="sqlite:///orders.db")
        assert done.out == expected, content + done.err
        shown += 1
    assert shown == 6
