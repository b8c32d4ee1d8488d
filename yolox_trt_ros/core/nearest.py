"""Find the valid name nearest to a misspelt one."""

from __future__ import annotations

import re
from collections.abc import Iterable

LONGEST = 80
"""Longer names resemble nothing that is worth a suggestion."""
WORD = 3
"""So many letters say something; fewer begin half of all names."""
_SEPARATORS = re.compile(r'[./]')


def nearest(name: str, choices: Iterable[str]) -> str:
    """Return the choice that is near a name, or an empty string.

    Near is what differs in few letters, part by part where dots or slashes divide it (that two
    parameters belong to one camera makes them no neighbours), what begins or ends the other, or
    is written with other capitals or hyphens.
    """
    if not 0 < len(name) <= LONGEST:
        return ''
    ranked = []
    for choice in choices:
        rank = _rank(_plain(name), _plain(choice)) if len(choice) <= 2 * LONGEST else None
        if rank is not None:
            ranked.append((rank, len(choice), choice))
    return min(ranked)[2] if ranked else ''


def _plain(name: str) -> str:
    return name.lower().replace('-', '_')


def _rank(name: str, choice: str) -> int | None:
    """Return how far a choice is, 0 the nearest; None: too far."""
    if name == choice:
        return 0
    if len(name) >= WORD and choice.startswith(name):
        return 1
    letters = _letters(name, choice)
    if letters is not None:
        return 1 + letters
    if len(choice) >= WORD and name.startswith(choice):
        return LONGEST
    if len(name) >= WORD and choice.endswith((f'.{name}', f'/{name}')):
        return LONGEST
    return None


def _letters(name: str, choice: str) -> int | None:
    """Return how many letters differ; None: more than a slip in one of the parts."""
    parts, others = _SEPARATORS.split(name), _SEPARATORS.split(choice)
    if len(parts) != len(others):
        return None
    total = 0
    for part, other in zip(parts, others, strict=True):
        longer = max(len(part), len(other))
        most = 1 if longer < 5 else 2 if longer < 9 else 3
        if abs(len(part) - len(other)) > most:
            return None
        found = distance(part, other)
        if sorted(part) == sorted(other):  # letters in another order
            found = min(found, 1)
        if found > min(most, longer // 2):
            return None
        total += found
    return total


def distance(a: str, b: str) -> int:
    """Return how many letters have to be changed, added, left out or swapped with the next one."""
    if a == b:
        return 0
    before: list[int] = []
    last = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            best = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                best = min(best, before[j - 2] + 1)
            row.append(best)
        before, last = last, row
    return last[-1]
