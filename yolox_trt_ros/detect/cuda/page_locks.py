"""Memory of others made readable for CUDA devices, so that images need no staging copy."""

from __future__ import annotations

from yolox_trt_ros.core.errors import LaneError
from yolox_trt_ros.detect.cuda.runtime import require_cupy

PORTABLE, MAPPED = 1, 2
"""``cudaHostRegister``'s flags: for every context; with an address for kernels too."""


class CudaPageLocks:
    """Locks pages and maps them for every CUDA device.

    Raises:
        MissingDependencyError: no CuPy, no driver.
    """

    def __init__(self) -> None:
        self._runtime = require_cupy().cuda.runtime

    def lock(self, address: int, size: int) -> None:
        """See :class:`core.host_memory.PageLocks`."""
        try:
            self._runtime.hostRegister(address, size, PORTABLE | MAPPED)
        except self._runtime.CUDARuntimeError as error:
            raise LaneError(
                f'CUDA did not lock {size >> 20} MiB for images ({error}): images are copied once '
                'more; allow more locked memory (ulimit -l unlimited) or fewer cameras'
            ) from error

    def unlock(self, address: int) -> None:
        """See :class:`core.host_memory.PageLocks`."""
        self._runtime.hostUnregister(address)
