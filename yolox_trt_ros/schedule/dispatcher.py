"""The scheduler's state, moved by events that carry their own time.

Threads and clocks are the callers' business: :mod:`schedule.pipeline` drives a dispatcher with real
lanes under a lock, :mod:`schedule.simulation` drives the same code on a virtual clock. Every method
takes ``now_ns`` (monotonic, never decreasing) where it matters and returns at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from yolox_trt_ros.core.config import CameraConfig, LaneConfig
from yolox_trt_ros.core.detector import Detected, FrameResult
from yolox_trt_ros.core.errors import DropReason, FrameError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.snapshot import LaneState, PipelineSnapshot
from yolox_trt_ros.schedule.accounts import snapshot
from yolox_trt_ros.schedule.blame import Blame
from yolox_trt_ros.schedule.camera import Camera, of_models
from yolox_trt_ros.schedule.costs import CostModel
from yolox_trt_ros.schedule.crops import choose_crops, most_places
from yolox_trt_ros.schedule.mailbox import Mailbox
from yolox_trt_ros.schedule.order import FairQueue, by_stamp
from yolox_trt_ros.schedule.policy import LanePlan, decide
from yolox_trt_ros.schedule.state import DECODED_NS, Batch, Lane, Moment, check_names

SHORT = 0.7
"""Lanes are short of time, and throughput counts, when each of them is used more than this."""


class Dispatcher:
    """Mailboxes, lanes and costs of one pipeline.

    Invariant, per camera, between any two calls: ``received == published + sum(dropped) + waiting
    + in_flight``; and results are admitted in arrival order only.

    In lockstep, for replay, every frame is kept until it is taken, by its camera's own lane (its
    pin, or the lanes in turn), alone, in the order of stamps; and no deadline drops a frame. So
    what is detected in a frame does not depend on how long anything takes.

    Args:
        cameras: at least one, with distinct names.
        lanes: at least one, with distinct names; each starts in ``LaneState.STARTING``.
        lockstep: see above.

    Attributes:
        models: the cameras of each model, by its name; the empty one is the vehicle's ``model``.

    Raises:
        ValueError: a name appears twice, or a camera is pinned to an unknown lane.
    """

    def __init__(
        self,
        cameras: Sequence[CameraConfig],
        lanes: Sequence[LaneConfig],
        *,
        lockstep: bool = False,
    ) -> None:
        check_names(cameras, lanes)
        if lockstep:
            cameras = [replace(camera, deadline_ms=0.0, max_rate_hz=0.0) for camera in cameras]
        # A camera has one frame waiting: a batch that could only be filled by more never starts.
        most = 1 if lockstep else sum([1 + len(camera.crops) for camera in cameras])
        self._lockstep = lockstep
        self.lanes = {lane.name: Lane.of(lane, most) for lane in lanes}
        self.cameras: dict[str, Camera] = {}
        for index, config in enumerate(cameras):
            pin = config.lane or (lanes[index % len(lanes)].name if lockstep else '')
            self.cameras[config.name] = Camera(
                config,
                Mailbox(every=lockstep),
                config.priority,
                round(config.deadline_ms * 1e6),
                live=not lockstep,
                pin=self.lanes.get(pin),
                bound=lockstep,
            )
        self.models = of_models(self.cameras.values())
        for lane in self.lanes.values():
            for model, its in self.models.items():
                lane.costs[model] = CostModel(min(lane.config.max_batch, most_places(its)))
        self._with_crops = [camera for camera in self.cameras.values() if camera.crops]
        self.queue = FairQueue()
        self._blame = Blame(self.cameras, self.lanes)

    # ------------------------------------------------------------------ frames

    def offer(self, frame: Frame) -> FrameError | None:
        """Put an arrived frame into its camera's mailbox, unless it is one too many or too large.

        Returns:
            What is wrong with a frame that was dropped at once; None: nothing.

        Raises:
            ValueError: ``sequence`` does not follow the camera's earlier frames.
        """
        camera = self.cameras[frame.camera]
        refusal = camera.refusal(frame)
        if refusal is not None:
            camera.refused(frame, refusal.reason)
        elif camera.pace.passes(frame.received_ns):
            self.queue.offered(camera.arrived(frame))
        else:
            camera.refused(frame, DropReason.THINNED)
        return refusal

    def reject(self, name: str, reason: DropReason, count: int, now_ns: int) -> None:
        """Count messages that never became frames."""
        camera = self.cameras[name]
        camera.received += count
        camera.last_received_ns = now_ns
        camera.drop(reason, count)

    def dispatch(self, now_ns: int) -> list[Batch]:
        """Let every free lane take what the policy gives it."""
        lanes = [lane for lane in self.lanes.values() if lane.state is LaneState.RUNNING]
        free = [lane.free(now_ns) for lane in lanes]
        if True not in free:
            return []
        busy = len([lane for lane in lanes if lane.running])
        if self._with_crops:
            choose_crops(self._with_crops, lanes, busy, self.queue.overloaded, now_ns)
        waiting = {m: sum([c.waiting_places for c in its]) for m, its in self.models.items()}
        if not any(
            lane.filled(waiting, busy - lane.busy)
            for lane, is_free in zip(lanes, free, strict=True)
            if is_free
        ):
            return []
        short = self.queue.overloaded or min([lane.utilisation for lane in lanes]) > SHORT
        cameras = list(self.cameras.values())
        line = by_stamp(cameras) if self._lockstep else self.queue.line(cameras, now_ns)
        moment = Moment(
            now_ns, short, waiting, lambda m: self.queue.waits_ns(self.models[m], now_ns)
        )
        plans = [
            LanePlan(lane, is_free, busy - lane.busy, moment)
            for lane, is_free in zip(lanes, free, strict=True)
        ]
        decision = decide(moment, line, plans)
        for camera, to_others in decision.hopeless:
            camera.mailbox.take()
            camera.drop(DropReason.HOPELESS)
            if to_others:
                self.queue.lost(camera)
        if decision.hopeless:  # who has lost a frame may be owed its next one before a lane starts
            return self.dispatch(now_ns)
        return [
            self._take(lane, members, busy - lane.busy, now_ns) for lane, members in decision.takes
        ]

    def _take(self, lane: Lane, cameras: Sequence[Camera], load: int, now_ns: int) -> Batch:
        model = cameras[0].config.model
        frames = tuple([camera.take(lane.room) for camera in cameras])
        expected = lane.costs[model].expect(sum([frame.places for frame in frames]), load)
        started = max(now_ns, lane.busy_until_ns) if lane.running else now_ns
        for camera in cameras:
            camera.running_until_ns = started + expected
        grace = DECODED_NS * sum([f.height * f.width for f in frames if f.compressed])
        batch = Batch(lane.config.name, frames, now_ns, load, expected, started, model, grace)
        lane.running.append(batch)
        lane.busy_until_ns = started + expected
        return batch

    # ----------------------------------------------------------------- results

    def collect(
        self, batch: Batch, now_ns: int, results: Sequence[FrameResult | None] = ()
    ) -> bool:
        """Take a finished batch off its lane and learn its cost, and what its cameras cost it.

        The lane stays occupied until :meth:`release`. Returns False if the lane was given up in the
        meantime: the batch's frames are then already accounted for and its results worth nothing.
        """
        if not batch.valid:
            return False
        lane = self.lanes[batch.lane]
        lane.running.remove(batch)
        cost_ns = now_ns - batch.started_ns
        self._learn(batch, cost_ns, now_ns, results)
        lane.used(cost_ns, now_ns)
        lane.processed += len(batch.frames)
        for frame in batch.frames:
            ran = self.cameras[frame.camera].ran
            ran[batch.lane] = ran.get(batch.lane, 0) + 1
        lane.batches += 1
        lane.publishing = True
        lane.busy_until_ns = now_ns
        for ahead in lane.running:
            ahead.started_ns = lane.busy_until_ns
            lane.busy_until_ns += ahead.expected_ns
        self._forget_running(batch)
        return True

    def _learn(
        self, batch: Batch, cost_ns: int, now_ns: int, results: Sequence[FrameResult | None]
    ) -> None:
        """Learn a batch's cost without what single cameras took too long for."""
        for frame, result in zip(batch.frames, results, strict=False):
            if result is not None:
                camera, good = self.cameras[frame.camera], isinstance(result, Detected)
                cost_ns -= camera.allowance.spent(batch.lane, result.prepare_ns, good, now_ns)
                if camera.allowance.slowed(now_ns):
                    camera.drop_waiting(DropReason.SLOWED)
        # A batch without any good frame has not been run.
        if not results or any(isinstance(result, Detected) for result in results):
            costs = self.lanes[batch.lane].costs[batch.model]
            costs.observe(batch.places, batch.load, cost_ns)

    def _forget_running(self, batch: Batch) -> None:
        for frame in batch.frames:
            camera = self.cameras[frame.camera]
            if camera.taken_sequence == frame.sequence:
                camera.running_until_ns = 0

    def release(self, name: str) -> None:
        """Free the place of a batch that was collected and published."""
        self.lanes[name].publishing = False

    def admit(self, frame: Frame) -> bool:
        """Return whether the frame's result may be published; if a newer one was, drop it."""
        if frame.sequence > self.cameras[frame.camera].published_sequence:
            return True
        self.drop(frame, DropReason.OVERTAKEN)
        return False

    def published(self, frame: Frame, now_ns: int) -> int:
        """Count a published result and return the drops since the one before it."""
        return self.cameras[frame.camera].publish(frame, now_ns)

    def drop(self, frame: Frame, reason: DropReason) -> None:
        """Count a taken frame that gives no published result."""
        camera = self.cameras[frame.camera]
        camera.in_flight -= 1
        camera.drop(reason)

    def drop_waiting(self) -> None:
        """Drop what no lane has taken: the pipeline stops."""
        for camera in self.cameras.values():
            camera.drop_waiting(DropReason.STOPPED)

    def stop(self) -> None:
        """Drop what is still on the lanes; results that arrive later are worth nothing."""
        self.drop_waiting()
        for lane in self.lanes.values():
            lane.state = LaneState.STOPPED
            lane.accepts = False
            while lane.running:
                batch = lane.running.popleft()
                batch.valid = False
                for frame in batch.frames:
                    self.drop(frame, DropReason.STOPPED)

    @property
    def idle(self) -> bool:
        """Return whether no frame waits or is in flight."""
        return not any(len(c.mailbox) or c.in_flight for c in self.cameras.values())

    # ------------------------------------------------------------------- lanes

    def lane_up(self, name: str, now_ns: int) -> None:
        """Let a built and measured lane take frames."""
        self.lanes[name].come_up(now_ns)

    def lane_down(self, name: str, why: str, now_ns: int, failed: Batch | None = None) -> int:
        """Quarantine a failed lane, give its frames back, and return when to rebuild it.

        A frame goes back to its mailbox once, if it is still the newest of its camera and in time;
        otherwise it is dropped as ``lane_failed``, or as ``failed`` if that is held against its
        camera and not against the lane; see :class:`schedule.blame.Blame`. ``failed`` is the batch
        that the lane failed with, if that is known.
        """
        lane = self.lanes[name]
        blamed = self._blame.judge(failed, now_ns) if failed and failed.valid else None
        pause_ns = lane.fail(why, now_ns)
        while lane.running:
            batch = lane.running.pop()
            batch.valid = False
            self._forget_running(batch)
            for frame in reversed(batch.frames):
                camera = self.cameras[frame.camera]
                if camera is blamed:
                    self.drop(frame, DropReason.FAILED)
                elif not camera.take_back(frame, now_ns):
                    self.drop(frame, DropReason.LANE_FAILED)
        return now_ns + pause_ns

    def time_lost(self, from_ns: int, to_ns: int) -> None:
        """Count a time in which nothing could run for none of the lanes."""
        for lane in self.lanes.values():
            lane.time_lost(from_ns, to_ns)

    def overdue(self, now_ns: int) -> list[tuple[str, str]]:
        """Return the lanes whose oldest batch hangs, with what was expected and what happened."""
        hangs = [(name, lane.hangs(now_ns)) for name, lane in self.lanes.items()]
        return [(name, what) for name, what in hangs if what]

    def snapshot(self, now_ns: int) -> PipelineSnapshot:
        """Return all accounts at one moment."""
        return snapshot(self.cameras, self.lanes, now_ns)
