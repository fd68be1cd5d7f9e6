"""Which column of a source feeds which field of a label event.

A column that is named like a field feeds it: ``request_id``, ``item_id``, ``model``, ``name``, ``op``, ``value``, ``observed_at``,
``source``, ``label_id``, ``tags.<key>``, ``entity.<type>``. A mapping says what differs. In the *wide* form a source has one column
for each label: every value column gives an event of its own, named after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from upshot.wire import LabelEvent
from upshot_server.labels.errors import WrongInput, printable

FIELDS = ("request_id", "item_id", "model", "name", "op", "value", "observed_at", "source", "label_id")
MAPS = tuple(name for name in ("tags", "entity") if name in LabelEvent.__struct_fields__)
"""Fields that map a key to a text; a column feeds one key."""


@dataclass(frozen=True)
class ColumnMap:
    """What a user says about the columns of a source; complete it for one source with :meth:`resolve`."""

    columns: Mapping[str, str] = field(default_factory=dict)
    """Field -> column, where they are not named alike."""
    constants: Mapping[str, str] = field(default_factory=dict)
    """Field -> text, the same for every event. Comes before a column."""
    value_columns: Sequence[str] = ()
    """The wide form: columns that hold the values of one label each."""

    @classmethod
    def parse(cls, columns: Iterable[str], constants: Iterable[str], value_columns: Iterable[str]) -> ColumnMap:
        """From ``FIELD=COLUMN`` and ``FIELD=TEXT`` as they are written on a command line. Raises WrongInput."""
        return cls.of(_pairs("--column", columns), _pairs("--set", constants), list(value_columns))

    @classmethod
    def of(
        cls, columns: Mapping[str, str], constants: Mapping[str, str], value_columns: Sequence[str] = ()
    ) -> ColumnMap:
        """Checked: known fields, each fed once. Raises WrongInput."""
        for name in [*columns, *constants]:
            _check_field(name)
        both = set(columns) & set(constants)
        if both:
            raise WrongInput(f"{', '.join(sorted(both))}: a column and a constant")
        if len(set(value_columns)) < len(value_columns):
            raise WrongInput("a value column is given twice")
        if value_columns:
            taken = {"name", "value"} & {*columns, *constants}
            if taken:
                raise WrongInput(
                    f"{', '.join(sorted(taken))}: in the wide form, name and value come from the value columns"
                )
        return cls(dict(columns), dict(constants), tuple(value_columns))

    def resolve(self, names: Sequence[str] | None) -> Resolved:
        """Fit it to a source with these columns; None: a source whose rows may each have their own (NDJSON).

        Raises WrongInput when a column is missing or there twice, or when nothing says whose labels these are.
        """
        fields = {name: column for name, column in self._by_name(names).items() if name not in self.constants}
        fields |= self.columns
        if self.value_columns:
            fields = {name: column for name, column in fields.items() if name not in ("name", "value")}
        needed = list(dict.fromkeys([*fields.values(), *self.value_columns]))
        if names is not None:
            self._check(names, fields, needed)
        return Resolved(
            fields,
            dict(self.constants),
            list(self.value_columns),
            needed,
            [] if names is None else [name for name in names if name not in needed],
        )

    def _by_name(self, names: Sequence[str] | None) -> dict[str, str]:
        if names is None:
            return {name: name for name in (*FIELDS, *MAPS)}
        return {name: name for name in names if name in FIELDS or name in MAPS or _key_of(name)}

    def _check(self, names: Sequence[str], fields: Mapping[str, str], needed: Sequence[str]) -> None:
        have = ", ".join(printable(name) for name in names[:50]) or "none"
        missing = [column for column in needed if column not in names]
        if missing:
            said = ", ".join(printable(column) for column in missing)
            raise WrongInput(f"no column is called {said}; the columns are: {have}")
        given = {*fields, *self.constants}
        if not any(name == "request_id" or name.partition(".")[0] == "entity" for name in given):
            raise WrongInput(
                f"no column is called request_id; say which one it is with --column request_id=COLUMN; the columns are: {have}"
            )
        if not self.value_columns and "value" not in given and "op" not in given:
            raise WrongInput(
                "no column is called value; say which one it is with --column value=COLUMN, or name the columns of several "
                f"labels with --value-column; the columns are: {have}"
            )
        twice = [column for column in needed if list(names).count(column) > 1]
        if twice:
            raise WrongInput(f"two columns are called {', '.join(map(printable, twice))}")


@dataclass(frozen=True)
class Resolved:
    """A mapping that fits its source."""

    fields: Mapping[str, str]
    """Field -> column."""
    constants: Mapping[str, str]
    value_columns: Sequence[str]
    needed: Sequence[str]
    """The columns that are read."""
    ignored: Sequence[str]
    """Columns that feed nothing."""

    def column_of(self, loc: str) -> str | None:
        """The column that feeds the place of an event where something is wrong; None when no column does."""
        return self.fields.get(loc) or self.fields.get(loc.partition(".")[0])


def _pairs(option: str, given: Iterable[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not sign:
            raise WrongInput(f"{option} {printable(text)}: write FIELD=..., for example {option} request_id=...")
        if name in pairs:
            raise WrongInput(f"{option} {name}: given twice")
        pairs[name] = value
    return pairs


def _key_of(name: str) -> bool:
    map_, _, key = name.partition(".")
    return map_ in MAPS and bool(key)


def _check_field(name: str) -> None:
    if name not in FIELDS and not _key_of(name):
        keys = "".join(f", {map_}.<name>" for map_ in MAPS)
        raise WrongInput(f"{printable(name)} is no field of a label event; the fields are: {', '.join(FIELDS)}{keys}")
