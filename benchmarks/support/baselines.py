"""Other strategies to share lanes, to compare with; each runs in the same simulation.

They are given the same advantages: newest-frame mailboxes, exact accounts, order by weighted age,
results in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from yolox_trt_ros.core.config import CameraConfig, LaneConfig
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.profile import LaneProfile, Profile
from yolox_trt_ros.schedule.dispatcher import Dispatcher
from yolox_trt_ros.schedule.simulation import Scenario
from yolox_trt_ros.schedule.state import Batch


class RoundRobin(Dispatcher):
    """Frames go to the lanes in turn as they arrive; each lane runs its own in order of arrival."""

    def __init__(self, cameras: Sequence[CameraConfig], lanes: Sequence[LaneConfig]) -> None:
        super().__init__(cameras, lanes)
        self._queues: dict[str, deque[str]] = {lane.name: deque() for lane in lanes}
        self._next = deque(self._queues)

    def offer(self, frame: Frame) -> None:
        """Queue the frame at the next lane; a newer one takes its place in the same queue."""
        queued = len(self.cameras[frame.camera].mailbox) > 0
        super().offer(frame)
        if not queued:
            self._queues[self._next[0]].append(frame.camera)
            self._next.rotate(-1)

    def dispatch(self, now_ns: int) -> list[Batch]:
        """Let every free lane take what is first in its queue."""
        busy = sum(lane.busy for lane in self.lanes.values())
        return [
            self._take(lane, [self.cameras[self._queues[name].popleft()]], busy - lane.busy, now_ns)
            for name, lane in self.lanes.items()
            if lane.free(now_ns) and self._queues[name]
        ]


class ConstantBatch(Dispatcher):
    """Every lane waits until so many frames wait and runs them; under overload in fair order."""

    def __init__(
        self, cameras: Sequence[CameraConfig], lanes: Sequence[LaneConfig], *, size: int
    ) -> None:
        super().__init__(cameras, lanes)
        self._size = size

    def dispatch(self, now_ns: int) -> list[Batch]:
        """Let the first free lane that can be filled take its batch."""
        busy = sum(lane.busy for lane in self.lanes.values())
        waiting = [camera for camera in self.cameras.values() if camera.mailbox.head is not None]
        waiting.sort(key=lambda camera: camera.share_after)
        for lane in self.lanes.values():
            size = min(self._size, lane.config.max_batch)
            if lane.free(now_ns) and len(waiting) >= size:
                return [self._take(lane, waiting[:size], busy - lane.busy, now_ns)]
        return []


def fixed(scenario: Scenario, shares: Sequence[int]) -> Scenario:
    """Return the scenario with cameras pinned to the lanes: ``shares[i]`` of them to lane i."""
    lanes = [
        lane.name for lane, share in zip(scenario.lanes, shares, strict=True) for _ in range(share)
    ]
    cameras = [
        replace(camera, lane=lane) for camera, lane in zip(scenario.cameras, lanes, strict=True)
    ]
    return replace(scenario, cameras=cameras)


def first_lane_only(scenario: Scenario) -> Scenario:
    """Return the scenario with the first lane alone."""
    cameras = [replace(camera, lane='') for camera in scenario.cameras]
    return replace(scenario, cameras=cameras, lanes=scenario.lanes[:1])


def one_node_per_camera(scenario: Scenario) -> Scenario:
    """Return one lane per camera, all on the first lane's device, which they share fairly.

    With ``n`` of them busy each proceeds at 1/n of its speed, without any cost of switching.
    """
    device = scenario.profile.lane(scenario.lanes[0])
    count = len(scenario.cameras)
    shared = LaneProfile(
        device.device, device.cost_ms, tuple(float(n) for n in range(1, count + 1)), device.jitter
    )
    nodes = [
        replace(scenario.lanes[0], name=f'node_{camera.name}', max_batch=1, in_flight=1)
        for camera in scenario.cameras
    ]
    cameras = [
        replace(camera, lane=node.name)
        for camera, node in zip(scenario.cameras, nodes, strict=True)
    ]
    profile = Profile(
        scenario.profile.name,
        'one node per camera',
        scenario.profile.sources,
        {node.name: shared for node in nodes},
    )
    return replace(scenario, cameras=cameras, lanes=nodes, profile=profile)
