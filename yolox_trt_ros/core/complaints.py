"""What goes wrong with a camera's frames, told once in a while and not for every frame."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable

AGAIN_NS = 5_000_000_000
"""A problem that repeats is reported this often …"""
NUMBER = re.compile(r'\d+')
"""… and other numbers in it make it no other problem."""


class Complaints:
    """Tells problems of cameras; methods may be called from any thread.

    Args:
        event: gets ('warn', message) for the log; must not raise.
        on_problem: gets (camera, message) for every problem; what it raises is logged.
        clock: monotonic nanoseconds.
    """

    def __init__(
        self,
        event: Callable[[str, str], None],
        on_problem: Callable[[str, str], None] | None,
        clock: Callable[[], int],
    ) -> None:
        self._event, self._on_problem, self._clock = event, on_problem, clock
        self._lock = threading.Lock()
        self._logged_ns: dict[str, int] = {}

    def tell(self, camera: str, problem: str) -> None:
        """Tell why a frame has no result."""
        if self._on_problem is not None:
            try:
                self._on_problem(camera, problem)
            except Exception:
                logging.getLogger(__name__).exception('on_problem failed for: %s', problem)
        message = f'{camera}: {problem}'
        kind, now_ns = NUMBER.sub('#', message), self._clock()
        with self._lock:
            if now_ns < self._logged_ns.get(kind, -AGAIN_NS) + AGAIN_NS:
                return
            self._logged_ns = {k: t for k, t in self._logged_ns.items() if now_ns < t + AGAIN_NS}
            self._logged_ns[kind] = now_ns
        self._event('warn', message)
