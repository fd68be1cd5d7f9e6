"""Redaction: what must not leave the process is dropped, hashed or masked inside the logging call, before anything is queued.

A rule is an action and a *target*. A target is

- a name, or a pattern of names with ``*``, ``?`` and ``[...]``, in any case of letters: ``password``, ``*_email``. It means that
  name wherever it stands: a feature, an input, an entity, a tag, an attribution, a class of ``probabilities``, a key inside a
  nested value, the name of a label;
- the same with its place in front: ``features.email``, ``entities.user``, ``tags.*``, ``inputs.address.street``,
  ``label.comment``, and ``prediction``, ``action``, ``source`` for those fields;
- ``~`` and a kind of value (`upshot.capture.value_kinds`): ``~email``, ``~card``, ``~jwt``, ``~key``, ``~ip``, wherever it stands
  in a text, names among them.

The actions, of which the strictest that applies is taken:

``drop``
    The name is absent. A dropped prediction, action or source is absent too; a label must have a value, so there it masks.
``mask``
    The value is ``***``; of a kind of value only the part of the text that was recognised.
``hash``
    The value is the HMAC-SHA256 of its text under ``redact_key``, 64 hexadecimal digits; of a kind only the recognised part. Equal
    texts have equal hashes everywhere, so what is hashed can still be counted, grouped and joined. The text is that of
    the conversion table: ``17`` and ``"17"`` hash alike, as they do as an entity.

Null stays null. Where only numbers can stand (attributions, feature times, probabilities), mask and hash drop. IDs of requests,
items and labels, models and names of labels are never changed: labels find their prediction by them. Values that are numbers are
not searched for kinds. With any rule, an object of a type that the conversion table does not know is kept as the name of its
type: nobody can look into what its ``repr`` says. A rule that fails on a value drops it.
"""

from __future__ import annotations

import fnmatch
import hmac
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple

from upshot.capture.bounded_text import bounded_text
from upshot.capture.convert import NATIVE_TYPES, NUMBER_TYPES, as_text, only_texts
from upshot.capture.flags import REDACTED, Flags
from upshot.capture.plain import encode
from upshot.capture.value_kinds import HINTS, KINDS, MAX_SCAN, Span, apart, spans
from upshot.errors import ConfigurationError

__all__ = ["MASK", "Action", "Entry", "Redaction"]

Action = Literal["drop", "mask", "hash"]
_ACTIONS: tuple[Action, ...] = ("drop", "mask", "hash")  # the strictest first

MASK: Final = "***"

_MIN_KEY = 16
"""Characters: a shorter key can be guessed, and with it every hashed ID."""
_MAX_KNOWN_NAMES = 10_000
_MAX_KNOWN_LENGTH = 200
_MAX_KNOWN_TEXT = 64
_MAX_HASHED = 16_384
"""Characters of a recognised value; what is longer was not recognised, but not looked at."""
_NUMBERS_ONLY = frozenset({"attributions", "feature_times", "probabilities"})
_NEVER = frozenset({"request_id", "item_id", "model", "model_version", "label_id"})


class Entry(NamedTuple):
    """What became of one named value."""

    name: str
    value: Any
    n_redacted: int = 0
    """Places in it that a rule changed or removed: several in a nested value."""
    is_dropped: bool = False
    is_repr: bool = False
    """It is kept as bounded text."""


class _Rule(NamedTuple):
    action: Action
    matches: Callable[[str], object]


class _Decision(NamedTuple):
    action: Action | None
    name: str
    """The name to show: where the name itself holds a recognised value, that is masked or hashed."""


class _DroppedError(Exception):
    """A value must not be kept at all."""


class Redaction:
    """The rules, read once. One object serves all threads; what it decided about a name it remembers."""

    __slots__ = ("_clean", "_clean_texts", "_concerns_prediction", "_decisions", "_kinds", "_mac", "_n_rules", "_rules")

    def __init__(self, rules: Iterable[tuple[Action, str]], key: str) -> None:
        by_action = sorted(rules, key=lambda rule: _ACTIONS.index(rule[0]))
        self._n_rules = len(by_action)
        self._rules = [_Rule(action, _matcher(target)) for action, target in by_action if target[0] != "~"]
        self._kinds = [(action, target[1:], HINTS[target[1:]]) for action, target in by_action if target[0] == "~"]
        self._mac = hmac.new(key.encode(), digestmod="sha256")
        self._decisions: dict[tuple[str, str], _Decision] = {}
        self._clean: dict[str, set[str]] = {}
        self._clean_texts: set[str] = set()
        self._concerns_prediction = self.decision("", "prediction")[0] is not None

    def __repr__(self) -> str:
        return f"<Redaction: {self._n_rules} rules>"

    @classmethod
    def read(cls, rules: Mapping[str, object] | str, key: str = "", label: str = "redact") -> Redaction | None:
        """The rules of the setting ``redact``; None when there are none.

        ``rules``: ``{"drop": ["password"], "hash": ["entities.user"], "mask": ["~email"]}``, or the same as text:
        ``drop:password; hash:entities.user; mask:~email,~card``. ``key``: the secret ``redact_key``, at least 16 characters,
        needed where something is hashed. Raises ConfigurationError; it names the rule by ``label``, never the key.
        """
        given = list(_from_text(rules, label) if isinstance(rules, str) else _from_mapping(rules, label))
        if not given:
            return None
        for _, target in given:
            _check_target(target, label)
        if any(action == "hash" for action, _ in given) and len(key) < _MIN_KEY:
            raise ConfigurationError(f"{label}: to hash, redact_key must be a secret of at least {_MIN_KEY} characters")
        return cls(given, key)

    # ---- the short way -----------------------------------------------------------------------------------------------

    def plain(
        self, features: dict[str, Any], prediction: object, on_redacted: Callable[[], object]
    ) -> tuple[dict[str, Any], dict[str, str] | None]:
        """Features to encode as they are, and the event's ``flags``. The given dict is not changed.

        Raises TypeError where a value must be converted before it can be judged, or the prediction is to be redacted:
        then `Converter` does all of it.
        """
        items = features.copy()
        types = set(map(type, items.values()))
        if (
            only_texts(tuple(items))
            or not (types <= NATIVE_TYPES or _are_plain(items.values()))
            or self._concerns_prediction
            or (type(prediction) is str and self.text(prediction) is not prediction)
        ):
            raise TypeError
        named = self._odd("features", items)
        if self._kinds and str in types:
            known = self._clean_texts
            found = {
                name: text
                for name, v in items.items()
                if type(v) is str and (len(v) > _MAX_KNOWN_TEXT or v not in known) and (text := self.text(v)) is not v
            }
        else:
            found = {}
        if not named and not found:
            return items, None
        flags = Flags()
        for name, action, shown in named:
            if shown != name:
                raise TypeError
            if action == "drop":
                del items[name]
                found[name] = None
            elif (value := items[name]) is not None:
                found[name] = MASK if action == "mask" else self.digest(as_text(value))
        for name, text in found.items():
            flags.note(f"features.{name}", REDACTED)
            if text is None:
                items.pop(name, None)
            else:
                items[name] = text
        try:
            encode((items, prediction))
        except Exception:  # noqa: BLE001  # the long way will do it all again, and count it
            raise TypeError from None
        for _ in found:
            on_redacted()
        return items, flags.noted

    def is_clean(self, section: str, items: dict[str, Any]) -> bool:
        """Whether no rule touches these names and values, which are all plain and no lists."""
        return not self._odd(section, items) and not (
            self._kinds and any(type(v) is str and self.text(v) is not v for v in items.values())
        )

    def _odd(self, section: str, names: Iterable[str]) -> list[tuple[str, Action | None, str]]:
        """The names that a rule touches, each with the action and the name to show."""
        clean = self._clean.get(section)
        if clean is None:
            clean = self._clean[section] = set()
        if clean.issuperset(names):
            return []
        odd = []
        for name in [name for name in names if name not in clean]:
            action, shown = self.decision(section, name)
            if action is not None or shown != name:
                odd.append((name, action, shown))
            elif len(name) <= _MAX_KNOWN_LENGTH:
                _remember(name, clean)
        return odd

    # ---- the long way ------------------------------------------------------------------------------------------------

    def decision(self, section: str, name: str) -> tuple[Action | None, str]:
        """What the rules say of a name in a section (``features``, ``features.address``): the action, and the name to show."""
        key = (section, name)
        known = self._decisions.get(key)
        if known is None:
            known = self._decide(section, name)
            if len(name) + len(section) <= _MAX_KNOWN_LENGTH:
                if len(self._decisions) >= _MAX_KNOWN_NAMES:
                    self._decisions.clear()
                self._decisions[key] = known
        return known

    def _decide(self, section: str, name: str) -> _Decision:
        folded = name.casefold()
        candidates = {folded}
        if section:
            candidates.add(f"{section.casefold()}.{folded}")
            candidates.add(f"{section.partition('.')[2].casefold()}.{folded}".lstrip("."))  # inside a nested value
            if section in {
                "attributions",
                "feature_times",
            }:  # what a feature adds and when it was computed goes with it
                candidates.add(f"features.{folded}")
        action = next((rule.action for rule in self._rules if any(map(rule.matches, candidates))), None)
        shown = self.text(name)
        if shown is None:
            return _Decision("drop", MASK)
        if action in {"mask", "hash"} and section in _NUMBERS_ONLY:
            action = "drop"
        return _Decision(action, shown)

    def entry(self, section: str, name: str, value: object, plain: Callable[[object], Any]) -> Entry:
        """One named value, converted by ``plain`` (which may raise) and redacted. Raises nothing: what fails is dropped."""
        shown: str = MASK
        try:
            action, shown = self.decision(section, name)
            n_renamed = int(shown != name)
            if action == "drop":
                return Entry(shown, None, 1, is_dropped=True)
            if value is None:
                return Entry(shown, None, n_renamed)
            if action == "mask":
                return Entry(shown, MASK, 1)
            is_repr = False
            screen = self.screen(plain)
            try:
                kept = plain(value)
            except Exception:  # noqa: BLE001  # the methods of foreign objects may raise anything
                is_repr = True
                kept = bounded_text(value, plain, path=f"{section}.{name}" if section else name, screen=screen)
            if kept is None:
                return Entry(shown, None, n_renamed)
            if action == "hash":
                return Entry(shown, self.digest(as_text(kept)), 1)
            n_redacted = screen.n_redacted + n_renamed
            if type(kept) is str:
                text = self.text(kept)
                if text is None:
                    return Entry(shown, None, n_redacted + 1, is_dropped=True)
                if text is not kept:
                    kept, n_redacted = text, n_redacted + 1
                if section in _NUMBERS_ONLY and n_redacted:
                    return Entry(shown, None, n_redacted, is_dropped=True)
            return Entry(shown, kept, n_redacted, is_repr=is_repr)
        except Exception:  # noqa: BLE001
            return Entry(shown, None, 1, is_dropped=True)

    def text(self, text: str) -> str | None:
        """A text without the values that rules recognise in it: the same object when there are none; None when it is dropped."""
        if len(text) <= _MAX_KNOWN_TEXT and text in self._clean_texts:
            return text
        given = text
        to_hash: list[Span] = []
        for action, kind, hint in self._kinds:  # those that drop first, those that hash last
            if len(text) <= MAX_SCAN and hint(text) is None:
                continue
            found = spans(kind, text)
            if found and action == "drop":
                return None
            if action == "hash":
                to_hash += found
            elif found:
                text = _replaced(text, found)
        if to_hash:
            return _replaced(text, apart(sorted(to_hash)), self.digest)
        if text is given and len(text) <= _MAX_KNOWN_TEXT:
            _remember(text, self._clean_texts)  # most texts of features are categories: they come again
        return text

    def screen(self, plain: Callable[[object], Any]) -> _Screen:
        """What to pass a value through that is written as bounded text."""
        return _Screen(self, plain)

    def digest(self, text: str) -> str:
        """HMAC-SHA256 of a text, as 64 hexadecimal digits."""
        mac = self._mac.copy()
        mac.update(text.encode("utf-8", "surrogatepass"))
        return mac.hexdigest()


class _Screen:
    """What the rules say inside one nested value."""

    def __init__(self, redaction: Redaction, plain: Callable[[object], Any]) -> None:
        self._redaction = redaction
        self._plain = plain
        self.n_redacted = 0

    def nested(self, path: str, name: str, value: object) -> object:
        """What to write for the value of this name in the mapping at this path; raises LookupError to leave it out."""
        action, _ = self._redaction.decision(path, name)
        if action is None or (value is None and action != "drop"):
            return value
        self.n_redacted += 1
        if action == "drop":
            raise LookupError
        if action == "mask":
            return MASK
        try:
            text = as_text(self._plain(value))
        except Exception:  # noqa: BLE001
            text = bounded_text(value, self._plain, path=f"{path}.{name}", screen=self)
        return self._redaction.digest(text)

    def leaf(self, text: str) -> str:
        """What to write for a text."""
        kept = self._redaction.text(text)
        if kept is text:
            return text
        self.n_redacted += 1
        return MASK if kept is None else kept


def _replaced(text: str, found: list[Span], by: Callable[[str], str] | None = None) -> str:
    parts: list[str] = []
    position = 0
    for start, end in found:
        parts += (text[position:start], MASK if by is None or end - start > _MAX_HASHED else by(text[start:end]))
        position = end
    return "".join((*parts, text[position:]))


def _are_plain(values: Iterable[Any]) -> bool:
    return all(type(v) in NATIVE_TYPES or (type(v) is list and NUMBER_TYPES.issuperset(map(type, v))) for v in values)


def _remember(text: str, known: set[str]) -> None:
    if len(known) >= _MAX_KNOWN_NAMES:  # a service that makes names without end must not fill the memory
        known.clear()
    known.add(text)


def _matcher(target: str) -> Callable[[str], object]:
    folded = target.casefold()
    if any(c in folded for c in "*?["):
        return re.compile(fnmatch.translate(folded)).match
    return folded.__eq__


def _from_text(text: str, label: str) -> Iterable[tuple[Action, str]]:
    for part in text.replace("\n", ";").split(";"):
        if part.strip():
            action, colon, targets = part.partition(":")
            if not colon:
                raise ConfigurationError(f"{label} must read like drop:password; mask:~email,~card")
            for target in targets.split(","):
                yield _action(action.strip().lower(), label), target.strip()


def _from_mapping(rules: Mapping[str, object], label: str) -> Iterable[tuple[Action, str]]:
    if not isinstance(rules, Mapping):
        raise ConfigurationError(f"{label} must be a mapping of drop, hash and mask to lists of names, or text")
    for action, targets in rules.items():
        known = _action(action, label)
        for target in (
            [targets] if isinstance(targets, str) else targets if isinstance(targets, (list, tuple)) else [None]
        ):
            if not isinstance(target, str):
                raise ConfigurationError(f"{label}: {known} must be a list of names")
            yield known, target.strip()


def _action(action: object, label: str) -> Action:
    for known in _ACTIONS:
        if action == known:
            return known
    raise ConfigurationError(f"{label}: {action!r} is no action; there are drop, hash and mask")


def _check_target(target: str, label: str) -> None:
    if not target:
        raise ConfigurationError(f"{label}: a name is empty")
    if target[0] == "~" and target[1:] not in KINDS:
        raise ConfigurationError(
            f"{label}: {target} is no kind of value; there are {', '.join(f'~{kind}' for kind in KINDS)}"
        )
    if target.casefold() in _NEVER:
        raise ConfigurationError(f"{label}: {target} cannot be redacted, labels and versions are told apart by it")
