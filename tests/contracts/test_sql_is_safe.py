"""No text from a request ever becomes part of a statement: values go as parameters, identifiers are generated."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
SQL_WORDS = re.compile(r"\b(SELECT|INSERT INTO|ALTER TABLE|CREATE TABLE|CREATE OR REPLACE|TRUNCATE)\b")

# What may be formatted into a statement: names of tables and columns made by store/served.py, and constants of this code.
GENERATED = re.compile(
    r"^(self\._)?(table|known\.table|DATABASE|adds|where|select|columns?|_?[A-Z_]+|fold\.[A-Z_]+|name|value"
    r"|.*column_name\(.*|_CLICKHOUSE_TYPE\[kind\]|\"\".*|''\.join.*|newest_row|counts?)$"
)


def formatted_sql(file: Path) -> list[tuple[int, str]]:
    """Every expression that an f-string puts into a text that looks like SQL."""
    found = []
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.JoinedStr):
            text = "".join(part.value for part in node.values if isinstance(part, ast.Constant) and isinstance(part.value, str))
            if SQL_WORDS.search(text):
                found += [
                    (node.lineno, ast.unparse(part.value)) for part in node.values if isinstance(part, ast.FormattedValue)
                ]
    return found


def test_only_generated_names_are_formatted_into_statements() -> None:
    """An f-string that holds SQL holds nothing but constants of this code and names made from hashes."""
    checked = 0
    for folder in ("joiner", "monitoring", "deploy"):
        for file in (ROOT / folder).rglob("*.py"):
            for line, expression in formatted_sql(file):
                checked += 1
                assert GENERATED.match(expression), f"{file.relative_to(ROOT)}:{line}: {{{expression}}} in SQL"
    assert checked > 10, "the check must see the statements"


def test_the_check_sees_an_injected_value(tmp_path: Path) -> None:
    """The detector is proven on a statement that it must refuse."""
    bad = tmp_path / "bad.py"
    bad.write_text('sql = f"SELECT * FROM predictions WHERE model = \'{request.model}\'"\n')
    [(_, expression)] = formatted_sql(bad)
    assert not GENERATED.match(expression)
