"""Kinds of values that are recognised by how they look: ``email``, ``card``, ``jwt``, ``key``, ``ip``.

Each finder takes a text and yields the places (start, end) of what it recognises, from left to right. The patterns take time in
proportion to the text, whatever stands in it: every repetition is possessive or of bounded length, and starts only where
no other match of the same pattern can be under way. Doubtful cases count as found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import islice

__all__ = ["HINTS", "KINDS", "MAX_SCAN", "Span", "apart", "spans"]

Span = tuple[int, int]

MAX_SCAN = 32_768
"""Characters of a text that are looked at; what comes after counts as found."""
_MAX_MATCHES = 256
"""In one text, by one kind; what comes after these counts as found."""
_MAX_CANDIDATES = 512
"""Digits in one text that are tested for being a card number; what comes after these counts as found."""
_MARGIN = 64
"""Longer than any recognised thing with a space in it."""

_EMAIL = re.compile(r"(?<![\w.!#$*+^{|}~'-])[\w.!#$*+^{|}~'-]++(?:@|%40|\uff20)[\w-]++(?:\.[\w-]++)++")
_CARD = re.compile(
    r"(?<![0-9])(?:3[0-9]{3}[ .-]?[0-9]{6}[ .-]?[0-9]{4,5}"
    r"|[2-6][0-9]{3}(?:[ .-]?[0-9]{4}){2}[ .-]?[0-9]{1,4}(?:[ .-]?[0-9]{1,3})?)(?![0-9])"
)
_JWT = re.compile(r"(?<![\w-])[\w-]{10,}+\.[\w-]{4,}+\.[\w-]*+", re.ASCII)
_KEY = re.compile(
    r"(?:AKIA|ASIA|AGPA|AIDA|AROA|ANPA|ANVA|ABIA|ACCA)[A-Z0-9]{16}"  # AWS
    r"|gh[opsur]_[A-Za-z0-9]{20,}+|github_pat_\w{20,}+|glpat-[\w-]{20,}+"
    r"|(?:sk|rk|pk)_(?:live|test)_\w{10,}+|whsec_[\w+/=]{16,}+"  # Stripe
    r"|xox[abeoprs]-[\w-]{10,}+|xapp-[\w-]{10,}+|xwfp-[\w-]{10,}+"  # Slack
    r"|AIza[\w-]{30,}+|ya29\.[\w-]{20,}+"  # Google
    r"|sk-[\w-]{20,}+|hf_\w{20,}+|npm_\w{30,}+|pypi-[\w-]{40,}+|dop_v1_\w{40,}+|SG\.[\w-]{16,}+\.[\w-]{16,}+"
    r"|(?i:bearer|basic|token)[ :=]{1,3}[\w.~+/=-]{16,}+"  # an Authorization header
    r"|(?<=://)[^\s/:@]*+:[^\s/@]++(?=@)"  # user and password in an address
    r"|-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----[^-]*+(?:-----END [A-Z0-9 ]{0,40}-----)?+",
    re.ASCII,
)
_BYTE = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = re.compile(rf"(?<![\w.]){_BYTE}(?:\.{_BYTE}){{3}}(?!\w|\.[0-9])", re.ASCII)
_IPV6 = re.compile(
    r"(?<![\w:.])(?=[0-9A-Fa-f]{0,4}:)[0-9A-Fa-f:]{2,39}+(?:(?<=:)[0-9]{1,3}(?:\.[0-9]{1,3}){3})?(?![\w:])", re.ASCII
)


def spans(kind: str, text: str) -> list[Span]:
    """The places of a kind in a text, in order and apart. What is not looked at, of a very long text, counts as found."""
    find = KINDS[kind]
    if len(text) <= MAX_SCAN:
        found = list(islice(find(text), _MAX_MATCHES + 1))
    else:
        head = text[:MAX_SCAN]
        # Cut at a space, so that nothing is cut in two: what has no space in it begins after the cut, and is all masked.
        cut = max(head.rfind(space, 0, MAX_SCAN - _MARGIN) for space in " \n\t") + 1
        found = [span for span in islice(find(head), _MAX_MATCHES + 1) if span[0] < cut]
        found.append((cut, len(text)))
    if len(found) > _MAX_MATCHES:
        found[_MAX_MATCHES:] = [(found[_MAX_MATCHES][0], len(text))]
    return apart(found)


def apart(found: list[Span]) -> list[Span]:
    """Sorted places, those that touch or overlap made one."""
    merged: list[Span] = []
    for start, end in found:
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _emails(text: str) -> Iterator[Span]:
    if "@" in text or "%40" in text or "\uff20" in text:
        for match in _EMAIL.finditer(text):
            yield match.span()


def _cards(text: str) -> Iterator[Span]:
    """Card numbers by their first digits, their grouping, and their check digit (Luhn)."""
    position = 0
    n_candidates = 0
    while (match := _CARD.search(text, position)) is not None:
        start, end = match.span()
        n_candidates += 1
        if n_candidates > _MAX_CANDIDATES:
            yield start, len(text)
            return
        position = start + 1  # a number that is none may be the first digits before one that is
        for stop in range(
            end, start + 12, -1
        ):  # a shorter one first may be followed by other digits: 4111 1111 1111 1111 123
            if text[stop - 1].isdigit() and not text[stop : stop + 1].isdigit() and _is_luhn(text[start:stop]):
                yield start, stop
                position = stop
                break


def _is_luhn(text: str) -> bool:
    digits = [int(c) for c in text if "0" <= c <= "9"]
    if not 13 <= len(digits) <= 19:
        return False
    doubled = (2 * d - 9 * (d > 4) for d in digits[-2::-2])
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _jwts(text: str) -> Iterator[Span]:
    """JSON web tokens: three parts, of which the first begins a JSON object."""
    if "eyJ" in text:
        for match in _JWT.finditer(text):
            if "eyJ" in match[0]:
                yield match.span()


def _keys(text: str) -> Iterator[Span]:
    if len(text) >= 10:
        for match in _KEY.finditer(text):
            yield match.span()


def _addresses(text: str) -> Iterator[Span]:
    """IPv4 and IPv6 addresses."""
    found: list[Span] = []
    if "." in text:
        found += (match.span() for match in islice(_IPV4.finditer(text), _MAX_MATCHES + 1))
    if text.count(":") >= 2:
        found += (
            match.span()
            for match in islice(_IPV6.finditer(text), _MAX_MATCHES + 1)
            if "::" in match[0] or match[0].count(":") == 7 or (match[0].count(":") == 6 and "." in match[0])
        )
    yield from sorted(found)


KINDS: dict[str, Callable[[str], Iterator[Span]]] = {
    "email": _emails,
    "card": _cards,
    "jwt": _jwts,
    "key": _keys,
    "ip": _addresses,
}

HINTS: dict[str, Callable[[str], object]] = {
    "email": re.compile(r"[@%\uff20]").search,
    "card": re.compile(r"[0-9]{3}").search,
    "jwt": re.compile("eyJ").search,
    "key": _KEY.search,
    "ip": re.compile(r"[0-9]\.[0-9]|:[0-9A-Fa-f]{0,4}:").search,
}
"""A quick look: what it finds nothing in (None) holds no value of the kind."""
