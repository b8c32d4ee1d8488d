"""What is remembered of lanes that failed: why none came up, and calls that never returned."""

from __future__ import annotations

from yolox_trt_ros.core.errors import LaneError, YoloxTrtRosError, without_calls
from yolox_trt_ros.schedule.lane import LaneWorker

MOST_LEFT = 2
"""Calls of a lane that hang for ever before it is not built again: each keeps its images, and with
them buffers that cameras need, and its device's memory."""


class Failures:
    """Failures of a pipeline's lanes; the pipeline's lock guards it."""

    def __init__(self) -> None:
        self._first: dict[str, Exception] = {}
        self._left: dict[str, list[LaneWorker]] = {}

    def at_start(self, lane: str, error: Exception) -> None:
        """Remember why a lane did not come up."""
        self._first[lane] = without_calls(error)

    def refusal(self, running: bool) -> YoloxTrtRosError | None:
        """Return why the pipeline must not start: what no second attempt mends, or no lane runs."""
        errors, self._first = self._first, {}
        for error in errors.values():
            if isinstance(error, YoloxTrtRosError):
                return error
        if running:
            return None
        reasons = '; '.join(f'{name}: {error!r}' for name, error in errors.items())
        refusal = LaneError(f'no lane came up: {reasons}')
        refusal.__cause__ = next(iter(errors.values()), None)
        return refusal

    def leave(self, worker: LaneWorker) -> None:
        """Remember a worker that was given up and may never return."""
        self._left.setdefault(worker.name, []).append(worker)

    def crowded(self, lane: str) -> bool:
        """Return whether too many of a lane's calls have never returned."""
        left = self._left[lane] = [worker for worker in self._left.get(lane, ()) if worker.alive]
        return len(left) >= MOST_LEFT
