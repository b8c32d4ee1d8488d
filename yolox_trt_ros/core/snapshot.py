"""The state of a pipeline at one moment; counters are totals since it was made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from yolox_trt_ros.core.errors import DropReason


class LaneState(str, Enum):
    """Where a lane is in its life. The value is the name users see."""

    STARTING = 'starting'
    """Its detector is being built and measured for the first time."""
    RUNNING = 'running'
    """It takes frames."""
    QUARANTINED = 'quarantined'
    """It failed and waits for its next attempt."""
    PROBING = 'probing'
    """It was rebuilt and is tried out before it gets frames again."""
    OPEN = 'open'
    """It failed so often that it is tried again only rarely."""
    STOPPED = 'stopped'
    """The pipeline has stopped."""


@dataclass(frozen=True, slots=True)
class CameraSnapshot:
    """One camera's account: ``received == published + dropped + waiting + in_flight``, always.

    Attributes:
        name: the camera.
        lane: the one it is pinned to, or that ran most of its frames; empty while none runs.
        ran: frames that each lane has run.
        priority: its weight against the other cameras.
        deadline_ms: oldest useful result, arrival to publication; 0: none.
        received: messages that arrived, unusable ones included.
        published: results handed to the middleware.
        waiting: frames in the mailbox.
        in_flight: frames that a lane has taken and that are neither published nor dropped yet.
        dropped: frames per reason; every reason is a key.
        late: results published after their deadline.
        last_received_ns: monotonic arrival of the last message, or None.
        last_published_ns: monotonic time of the last publication, or None.
        newest_ns: monotonic arrival of the newest frame whose result is published, or None; the
            age of the camera's information is the time since then.
        slowed: for how long its images are refused and why; empty if they are not.
        crops: extra crops that lanes have taken; None: the camera has none.
    """

    name: str
    lane: str
    ran: Mapping[str, int]
    priority: float
    deadline_ms: float
    received: int
    published: int
    waiting: int
    in_flight: int
    dropped: Mapping[DropReason, int]
    late: int
    last_received_ns: int | None
    last_published_ns: int | None
    newest_ns: int | None
    slowed: str = ''
    crops: int | None = None


@dataclass(frozen=True, slots=True)
class LaneSnapshot:
    """One lane's account.

    Attributes:
        name, device, backend: as configured.
        state: where it is in its life.
        cameras: those placed on it.
        processed: frames whose results it delivered.
        batches: calls that delivered them.
        busy_ns: time it spent on them.
        failures: faults so far.
        restarts: successful rebuilds after a fault.
        cost_ns: expected time of one call per batch size at the present load; empty before warm-up.
        note: what happened to it last, empty if nothing did.
        runs: the network that it runs and how; empty before it is up.
        other_cost_ns: the same as ``cost_ns`` of each further model that it runs, by name.
    """

    name: str
    device: str
    backend: str
    state: LaneState
    cameras: tuple[str, ...]
    processed: int
    batches: int
    busy_ns: int
    failures: int
    restarts: int
    cost_ns: Mapping[int, int]
    note: str
    runs: str = ''
    other_cost_ns: Mapping[str, Mapping[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PipelineSnapshot:
    """All cameras and lanes at one monotonic moment, and why the cameras are placed as they are."""

    now_ns: int
    cameras: tuple[CameraSnapshot, ...]
    lanes: tuple[LaneSnapshot, ...]
    placement_reason: str
