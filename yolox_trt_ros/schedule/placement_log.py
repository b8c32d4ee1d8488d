"""Which changes of the placement are logged: those that a person would act on."""

from __future__ import annotations

from collections.abc import Callable, Mapping

QUIET_NS = 60_000_000_000
"""Shortest time between two lines that no event explains."""
DRIFTED = 'measured costs changed'
"""Why cameras move again and again under load; what each of them runs on is in ``~/status``."""


class PlacementLog:
    """Logs placements after events, and otherwise only when other cameras get too little.

    Where cameras move because lanes became faster or slower, a line says so if a camera does not
    get its rate or deadline any more, or gets it again: the first one at once, later ones when
    ``QUIET_NS`` have passed and it still is so. Lock of the pipeline not needed.

    Args:
        event: called with a level and a line.
    """

    def __init__(self, event: Callable[[str, str], None]) -> None:
        self._event = event
        self._told: frozenset[str] = frozenset()
        self._told_ns: int | None = None
        self._pending: tuple[frozenset[str], str] | None = None
        self._moves = 0

    def moved(
        self, now_ns: int, why: str, missing: Mapping[str, str], homes: Mapping[str, str]
    ) -> None:
        """Take a new placement.

        Args:
            now_ns: monotonic time.
            why: the cameras were placed anew.
            missing: what a camera does not get, in words.
            homes: lane by camera.
        """
        lacks = '; '.join(f'{name}: {lack}' for name, lack in missing.items())
        told = f'{why}; not met: {lacks}' if lacks else why
        line = f'{told}: {", ".join(f"{camera} on {lane}" for camera, lane in homes.items())}'
        self._pending = frozenset(missing), line
        if why != DRIFTED:
            self._tell(now_ns)
        else:
            self._moves += 1
            self.tell_due(now_ns)

    def tell_due(self, now_ns: int) -> None:
        """Log what has waited long enough; called often."""
        if self._pending is None:
            return
        if self._pending[0] == self._told:
            self._pending = None
        elif self._told_ns is None or now_ns - self._told_ns >= QUIET_NS:
            self._tell(now_ns)

    def _tell(self, now_ns: int) -> None:
        assert self._pending is not None
        self._told, line = self._pending
        moves = f' ({self._moves} moves since the last such line)' if self._moves > 1 else ''
        self._event('warn' if self._told else 'info', line + moves)
        self._pending, self._told_ns, self._moves = None, now_ns, 0
