"""Every error this package raises on purpose, and the reasons for which a frame is dropped."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import TypeVar

from yolox_trt_ros.core.nearest import nearest
from yolox_trt_ros.core.printing import one_line


class DropReason(str, Enum):
    """Why a received frame gave no published result. The value is the name users see."""

    REPLACED = 'replaced'
    """A newer frame of the same camera arrived before a lane took this one."""
    MALFORMED = 'malformed'
    """The message does not parse, or its size, step and payload contradict each other."""
    UNSUPPORTED = 'unsupported'
    """The encoding or compression format is not one this package reads."""
    UNDECODABLE = 'undecodable'
    """The compressed payload is damaged."""
    WAITING_FOR_KEY_FRAME = 'waiting_for_key_frame'
    """It is coded as a difference to a video's picture that did not arrive or is damaged."""
    OVERSIZED = 'oversized'
    """It has more pixels than its camera may send, or, a JPEG, too many scans of them."""
    SLOWED = 'slowed'
    """Earlier images of its camera took the lanes too long, or lanes failed on them."""
    THINNED = 'thinned'
    """Its camera sends more images than its ``max_rate_hz`` lets through."""
    HOPELESS = 'hopeless'
    """It could no longer meet its deadline."""
    LANE_FAILED = 'lane_failed'
    """Its lane failed, and it was too old to try again elsewhere."""
    FAILED = 'failed'
    """Lanes that run other images fail on it."""
    OVERTAKEN = 'overtaken'
    """A newer frame of the same camera was published first."""
    STOPPED = 'stopped'
    """The pipeline stopped before a lane took it."""
    UNPUBLISHED = 'unpublished'
    """Its result was ready, but handing it to the middleware failed."""


class YoloxTrtRosError(Exception):
    """Base of every error that this package raises on purpose."""


class ConfigError(YoloxTrtRosError):
    """A parameter is missing, unknown or out of range; the message says which and what is right."""


class ModelError(YoloxTrtRosError):
    """A model file is missing, unreadable, or not a YOLOX detector this package can run."""


class EngineError(YoloxTrtRosError):
    """A TensorRT engine cannot be built, kept or loaded; the message says which and why."""


class MissingDependencyError(YoloxTrtRosError):
    """An optional package is needed for what was asked; the message says how to get it."""


class LaneError(YoloxTrtRosError):
    """A lane's detector failed, hung or answered with something that is not a result."""


class BagError(YoloxTrtRosError):
    """A recorded drive cannot be read or written; the message says what is there instead."""


class StoppedError(YoloxTrtRosError):
    """Work was given up because somebody asked the process to end."""


class FrameError(YoloxTrtRosError):
    """One frame cannot be used; the rest goes on.

    Args:
        reason: how the frame is counted.
        message: what was expected and what arrived.

    Attributes:
        prepare_ns: CPU time that was spent on the frame until this was known, nanoseconds.
    """

    def __init__(self, reason: DropReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.prepare_ns = 0


Error = TypeVar('Error', bound=BaseException)


def without_calls(error: Error) -> Error:
    """Return an error that is to be kept, cut off from the calls that it went through.

    By its traceback, and by those of the errors that it was raised from, an error keeps alive
    whatever these calls worked on: images, detectors, their memory. Often it is itself among that,
    and then only the garbage collector can free it.
    """
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return error


FEW = 24
"""Most names that are listed where none is near."""


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """Return ``' — did you mean "x"?'`` for a near valid name, or the list of a few.

    Of many dotted names, those of the same group are listed.
    """
    choices = sorted(valid)
    if near := nearest(name, choices):
        return f' — did you mean "{one_line(near)}"?'
    if len(choices) > FEW:
        group = name[: name.rfind('.') + 1]
        rest = [choice[len(group) :] for choice in choices if choice.startswith(group)]
        choices = [name for name in rest if '.' not in name] if group else []
    return f'; valid: {one_line(", ".join(choices))}' if choices else ''
