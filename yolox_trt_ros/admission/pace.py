"""How many of a camera's images go on to the lanes."""

from __future__ import annotations


class Pace:
    """Lets at most so many images a second pass, evenly spread.

    An image passes when it is due; the next one is due a period after that moment, not after the
    image, so that 10 Hz thinned to 3 Hz are 3 Hz and not 2.5. After a pause two may pass at once.

    Args:
        max_hz: images a second; 0: all.
    """

    def __init__(self, max_hz: float) -> None:
        self.max_hz = max_hz
        self._due_ns: int | None = None

    def passes(self, arrived_ns: int) -> bool:
        """Return whether an image that arrived at this monotonic time goes on."""
        if not self.max_hz:
            return True
        period_ns = round(1e9 / self.max_hz)
        if self._due_ns is None:
            self._due_ns = arrived_ns
        if arrived_ns < self._due_ns:
            return False
        self._due_ns = max(self._due_ns, arrived_ns - period_ns) + period_ns
        return True

    def update(self, max_hz: float) -> None:
        """Change the rate; it holds from the next image on."""
        if max_hz != self.max_hz:
            self.max_hz, self._due_ns = max_hz, None
