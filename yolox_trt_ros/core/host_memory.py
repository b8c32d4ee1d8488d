"""The interface to pin host memory, so that a GPU reads it in place."""

from __future__ import annotations

from typing import Protocol


class PinnedMemory(Protocol):
    """Pins memory of the host, so that a device reads it; callable from any thread."""

    def pin(self, address: int, size: int) -> None:
        """Pin ``size`` bytes from an address, until ``unpin``.

        Raises:
            YoloxTrtRosError: the device or the operating system refused, with what to do.
        """
        ...

    def unpin(self, address: int) -> None:
        """Undo :meth:`pin`; the memory is freed then, even if this raises."""
        ...
