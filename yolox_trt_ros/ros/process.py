"""Settings of the whole process that decide what large messages cost."""

from __future__ import annotations

import ctypes
import signal

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
LARGE_BUFFER = 32 << 20
MOST_KEPT = 2_000_000_000


def keep_large_buffers() -> bool:
    """Make the C allocator keep image-sized blocks instead of returning each to the kernel.

    Below some 10 Hz glibc otherwise maps and unmaps every image, and faulting its pages in costs
    more than copying it. Call once, before the first message.

    Returns:
        Whether the allocator took the settings; other C libraries than glibc have none.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGE_BUFFER) and mallopt(M_TRIM_THRESHOLD, MOST_KEPT))


def interrupt_on_signals() -> None:
    """Make SIGTERM end the process as Ctrl-C does: by KeyboardInterrupt in the main thread."""
    # SIGINT too: a shell starts background processes with it switched off.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def ignore_interrupts() -> None:
    """Let a clean-up finish, however often Ctrl-C is pressed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
