"""Every error this package raises on purpose, and the reasons for which a frame is dropped."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import Enum
from typing import TypeVar


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
    HOPELESS = 'hopeless'
    """It could no longer meet its deadline."""
    LANE_FAILED = 'lane_failed'
    """Its lane failed, and it was too old to try again elsewhere."""
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


FEW = 20
"""So many names can be told where none is near."""


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """Return ``' — did you mean "x"?'`` for the nearest valid name, or the list of a few."""
    choices = sorted(valid)
    near = [choice for choice in choices if name and choice.startswith(name)]
    near = near or difflib.get_close_matches(name, choices, 1, 0.6 if len(choices) <= FEW else 0.0)
    if near:
        return f' — did you mean "{near[0]}"?'
    return f'; valid: {", ".join(choices)}' if choices else ''
