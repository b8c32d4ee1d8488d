"""The result of a check, and what a vehicle requires of the machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from yolox_trt_ros.core.backends import BACKENDS
from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.errors import YoloxTrtRosError


class Severity(str, Enum):
    """How bad it is. The value is what users see."""

    OK = 'OK'
    WARN = 'WARN'
    """It runs, but loses images, time or accuracy."""
    FAIL = 'FAIL'
    """It does not run."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        level: how bad it is.
        topic: what was looked at, a word or two.
        message: what was found.
        remedy: what to do; '' where nothing has to be done.
    """

    level: Severity
    topic: str
    message: str
    remedy: str = ''


@dataclass(frozen=True)
class Wanted:
    """What the machine is to do.

    Attributes:
        config: the vehicle; None if none was given.
        gpu: whether a lane needs one.
        builds: whether a lane runs an engine that is built before.
    """

    config: Config | None = None
    gpu: bool = False
    builds: bool = False

    @classmethod
    def of(cls, config: Config | None) -> Wanted:
        """Return what the lanes of a vehicle need."""
        lanes = config.lanes if config else ()
        return cls(
            config,
            any(x.device != 'cpu' and not BACKENDS[x.backend].simulated for x in lanes),
            any(BACKENDS[x.backend].builds for x in lanes),
        )

    def lacking(self, needed: bool) -> Severity:
        """Return how bad it is that something is missing."""
        return Severity.FAIL if needed else Severity.OK


Check = Callable[[Wanted], Iterable[Finding]]


def examine(checks: Iterable[Check], wanted: Wanted) -> Iterator[Finding]:
    """Yield the findings of all checks; one that breaks down is a finding, too."""
    for check in checks:
        topic = check.__name__.replace('_', ' ')
        try:
            yield from check(wanted)
        except YoloxTrtRosError as error:
            yield Finding(Severity.FAIL, topic, str(error))
        except Exception as error:
            yield Finding(
                Severity.FAIL, topic, f'the check itself failed: {error!r}', 'report this, please'
            )
