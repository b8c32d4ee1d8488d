"""The interface to pin host memory, so that a GPU reads it in place."""

from __future__ import annotations

from typing import Protocol


class PageLocks(Protocol):
    """Makes memory of the host readable for a device; both may be called from any thread."""

    def lock(self, address: int, size: int) -> None:
        """Lock ``size`` bytes from an address, until ``unlock``.

        Raises:
            YoloxTrtRosError: the device or the operating system refused, with what to do.
        """
        ...

    def unlock(self, address: int) -> None:
        """Undo a lock; the memory is freed then, even if this raises."""
        ...
