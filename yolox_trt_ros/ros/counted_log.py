"""Log repeated problems at their first, tenth, hundredth … occurrence."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

KINDS = 20
"""Most kinds of problems of one camera or topic; numbers in a message do not make another kind."""
_NUMBER = re.compile(r'\d+')


class CountedLog:
    """Logs the first, tenth, hundredth … problem of a kind, and counts all of them.

    Args:
        warn: logs a line.

    Attributes:
        counts: problems by (whom they are about, kind).
    """

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self.counts: Counter[tuple[str, str]] = Counter()

    def log(self, who: str, problem: str) -> None:
        """Count a problem, and log it if it is the first, tenth, hundredth … of its kind."""
        kind = _NUMBER.sub('#', problem)
        if (who, kind) not in self.counts and sum(w == who for w, _ in self.counts) >= KINDS:
            kind = 'any other'
        self.counts[who, kind] = count = self.counts[who, kind] + 1
        if str(count).strip('0') == '1':
            so_far = f' ({count} so far)' if count > 1 else ''
            self._warn(f'{who}: {problem}{so_far}')
