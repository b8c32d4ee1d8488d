"""Confine the failure of one frame to that frame of a batch."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from yolox_trt_ros.core.errors import DropReason, FrameError
from yolox_trt_ros.core.frame import Frame

Result = TypeVar('Result')


def attempt(work: Callable[[Frame], Result], frame: Frame) -> tuple[Result | FrameError, int]:
    """Do a frame's part of a batch and return what came of it, or what is wrong with the frame.

    A lane's own failures do not belong in here: a device that is lost fails the whole batch.

    The error that is returned was never raised. One that was raised refers by its traceback to the
    calls it went through, and they to the frame, so that the frame's buffer would stay in use until
    the garbage collector happens to run.

    Returns:
        The result or the error, and the CPU time that this thread has spent, nanoseconds.
    """
    begun_ns = time.thread_time_ns()
    result: Result | FrameError
    try:
        result = work(frame)
    except FrameError as error:
        result = FrameError(error.reason, str(error))
    except MemoryError as error:
        result = no_memory(frame, error)
    except Exception as error:
        reason = DropReason.UNDECODABLE if frame.compressed else DropReason.UNSUPPORTED
        result = FrameError(
            reason, f'{_look(frame)} cannot be read: {type(error).__name__}: {error}'
        )
    spent_ns = time.thread_time_ns() - begun_ns
    if isinstance(result, FrameError):
        result.prepare_ns = spent_ns
    return result, spent_ns


def no_memory(frame: Frame, error: MemoryError) -> FrameError:
    """Return what to say of a frame that is too large for the memory there is."""
    return FrameError(
        DropReason.UNSUPPORTED, f'there is no memory for {_look(frame, "an image")}: {error}'
    )


def _look(frame: Frame, what: str = '') -> str:
    return f'{what or frame.encoding + " image"} of {frame.width}x{frame.height}'
