"""Pin memory of others for CUDA devices, so that images need no copy to an upload buffer."""

from __future__ import annotations

from yolox_trt_ros.core.errors import LaneError
from yolox_trt_ros.detect.cuda.runtime import require_cupy

PORTABLE, MAPPED = 1, 2
"""``cudaHostRegister``'s flags: for every context; with an address for kernels too."""


class CudaPinnedMemory:
    """Pins memory and maps it for every CUDA device.

    Args:
        device: the N of a ``cuda:N`` in use, whose context does it; no other one is started.

    Raises:
        MissingDependencyError: no CuPy, no driver.
    """

    def __init__(self, device: int = 0) -> None:
        cupy = require_cupy()
        self._runtime, self._device = cupy.cuda.runtime, cupy.cuda.Device(device)

    def pin(self, address: int, size: int) -> None:
        """See :class:`core.host_memory.PinnedMemory`."""
        try:
            with self._device:
                self._runtime.hostRegister(address, size, PORTABLE | MAPPED)
        except self._runtime.CUDARuntimeError as error:
            raise LaneError(
                f'CUDA did not pin {size >> 20} MiB for images ({error}): images are copied once '
                'more; allow more locked memory (ulimit -l unlimited) or fewer cameras'
            ) from error

    def unpin(self, address: int) -> None:
        """See :class:`core.host_memory.PinnedMemory`."""
        with self._device:
            self._runtime.hostUnregister(address)
