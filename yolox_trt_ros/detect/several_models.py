"""A lane's detector where cameras have different models: one loaded network for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from yolox_trt_ros.core.detector import LaneDetector, Ticket
from yolox_trt_ros.core.errors import LaneError
from yolox_trt_ros.core.frame import Frame


class SeveralModels:
    """Hands a batch to the detector of its cameras' model.

    Args:
        detectors: by name of the model; they are closed with this one.
        cameras: the name of each camera's model.
    """

    def __init__(self, detectors: Mapping[str, LaneDetector], cameras: Mapping[str, str]) -> None:
        self._detectors, self._cameras = detectors, cameras

    @property
    def max_batch(self) -> int:
        """Return how many frames one call of ``submit`` accepts, whatever their model."""
        return min(detector.max_batch for detector in self._detectors.values())

    @property
    def about(self) -> str:
        """Return which networks run, and how, in a few words."""
        return '; '.join(
            f'{name or "model"}: {detector.about}' for name, detector in self._detectors.items()
        )

    def submit(self, frames: Sequence[Frame]) -> Ticket:
        """Start a batch of frames whose cameras have one model.

        Raises:
            LaneError: they have several; a batch was put together wrongly.
        """
        models = {self._cameras[frame.camera] for frame in frames}
        if len(models) != 1:
            named = ', '.join(sorted(name or 'model' for name in models)) or 'none'
            raise LaneError(f'expected a batch of cameras of one model, got {named}')
        return self._detectors[models.pop()].submit(frames)

    def close(self) -> None:
        """Free the devices of all; calling it twice is allowed."""
        with ExitStack() as closing:
            for detector in self._detectors.values():
                closing.callback(detector.close)
