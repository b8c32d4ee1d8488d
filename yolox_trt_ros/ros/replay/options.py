"""Options and outcome of a replay."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from yolox_trt_ros.ros.replay.lockstep import TIMEOUT_S


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """How a bag is played.

    Attributes:
        rate: speed, 1 is that of the recording; lockstep has its own.
        loop: begin again at the end, until interrupted.
        start_s, duration_s: the part that is played, seconds after the first message.
        topics: only these, by recorded name or pattern; empty: all, or the vehicle's cameras.
        remap: recorded names to others.
        clock: publish recording time on ``/clock``.
        reliability: ``best_effort`` or ``reliable`` for all topics; empty: as recorded.
        lockstep: the next image of a camera goes out when the detector has answered the last one.
        timeout_s: longest wait for the detector, at the start and for an answer.
        detector: its fully qualified name.
    """

    rate: float = 1.0
    loop: bool = False
    start_s: float = 0.0
    duration_s: float = math.inf
    topics: tuple[str, ...] = ()
    remap: Mapping[str, str] = field(default_factory=dict)
    clock: bool = False
    reliability: str = ''
    lockstep: bool = False
    timeout_s: float = TIMEOUT_S
    detector: str = '/detector'


@dataclass(slots=True)
class Sent:
    """What was sent.

    Attributes:
        messages: by published name.
        unheard: of them, those that nobody listened to.
        left_out: messages that were not sent, since somebody else publishes their topic.
        late: messages more than 5 ms after their time.
        worst_late_s: largest lateness.
        elapsed_s: from the first message to the end.
    """

    messages: Counter[str] = field(default_factory=Counter)
    unheard: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    late: int = 0
    worst_late_s: float = 0.0
    elapsed_s: float = 0.0
