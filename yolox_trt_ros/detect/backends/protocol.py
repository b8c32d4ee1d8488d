"""The interfaces of a backend, on the CPU and on a GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from yolox_trt_ros.detect.cuda.preprocess import InputFormat


class Backend(Protocol):
    """What runs the network for :class:`detect.cpu.detector.CpuDetector`.

    Attributes:
        sizes: of the batches that it runs, ascending; the last holds the detector's largest batch.
        input: array with room for the largest batch, (batch, 3, height, width) of the model's
            type; written before :meth:`infer`.
        outputs: arrays (batch, …) in the spec's order, float32 or float16, as the last
            :meth:`infer` left them.
        segmentation: array (batch, …) of class masks, likewise; None: the model gives none.
    """

    sizes: list[int]
    input: Any
    outputs: list[Any]
    segmentation: Any

    def infer(self, images: int, masks: bool = False) -> None:
        """Run the network for the first images of the input.

        Args:
            images: one of ``sizes``.
            masks: whether ``segmentation`` is wanted; a backend may compute it all the same.
        """
        ...

    def close(self) -> None:
        """Free the network and its memory; calling it twice is allowed."""
        ...


class GpuBackend(Backend, Protocol):
    """What runs the network for :class:`detect.cuda.detector.CudaDetector`.

    Arrays are on the device, and stay where they are. ``infer`` only enqueues, on the stream that
    the backend was made for; a first run of a size may allocate, compile, and wait for the device.

    Attributes:
        recordable: whether a CUDA graph can hold what :meth:`infer` enqueues.
        form: type and layout of ``input``.
        output_dtype: float32 or float16.
    """

    recordable: bool
    form: InputFormat
    output_dtype: Any
