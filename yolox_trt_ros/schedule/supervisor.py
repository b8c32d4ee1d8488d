"""Watches over the lanes: faults, rebuilds, and who runs where."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from yolox_trt_ros.core.errors import LaneError, YoloxTrtRosError, without_calls
from yolox_trt_ros.core.snapshot import LaneState
from yolox_trt_ros.core.threads import named_thread
from yolox_trt_ros.schedule.lane import LaneWorker
from yolox_trt_ros.schedule.placement import place
from yolox_trt_ros.schedule.placement_log import DRIFTED, PlacementLog
from yolox_trt_ros.schedule.state import Batch

if TYPE_CHECKING:
    from yolox_trt_ros.schedule.pipeline import Pipeline

WATCH_NS = 100_000_000
"""How often hanging lanes are looked for."""
PROGRESS_NS = 30_000_000_000
"""How often a lane that builds or measures its detector says so."""
MOST_LEFT = 2
"""Calls of a lane that hang for ever before it is not built again: each keeps its images, and with
them buffers that cameras need, and its device's memory."""
OVERSLEPT_NS = 200_000_000
"""A watchdog that comes this much too late has not run, and neither have the lanes: the process was
stopped, or the computer slept. That is nobody's fault."""
DRIFT_CHECK_NS = 1_000_000_000
"""How often it is asked whether costs have drifted."""


class Supervisor:
    """The pipeline's watchdog and placement, on a thread of its own.

    Args:
        pipeline: whose lanes are watched; its lock guards everything here too.
        build_timeout_ns: longest time for building, and for measuring, a detector.
    """

    def __init__(self, pipeline: Pipeline, build_timeout_ns: int) -> None:
        self._first_errors: dict[str, Exception] = {}
        self._pipeline = pipeline
        self._due = threading.Condition(pipeline.lock)
        self._because = ''
        self._placements = PlacementLog(pipeline.event)
        self._build_timeout_ns = build_timeout_ns
        self._told_ns: dict[str, int] = {}
        self._left: dict[str, list[LaneWorker]] = {}
        self._checked_ns = 0
        self._looked_ns: int | None = None
        self._sleeps_until_ns = 0
        self._thread = named_thread(self._run, 'supervisor')

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread to end; the pipeline is stopping."""
        with self._pipeline.lock:
            self._due.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def request(self, why: str) -> None:
        """Have the cameras placed anew soon. The lock is held."""
        self._because = why
        self._due.notify_all()

    def wake_at(self, time_ns: int) -> None:
        """Have the lanes ask for frames again at this time, if not before. The lock is held."""
        if time_ns < self._sleeps_until_ns:
            self._sleeps_until_ns = time_ns
            self._due.notify_all()

    def lane_up(self, name: str) -> None:
        """Let a built and measured lane take frames. The lock is held."""
        pipeline = self._pipeline
        lane = pipeline.dispatcher.lanes[name]
        back = lane.failures > 0
        pipeline.dispatcher.lane_up(name, pipeline.clock())
        if back:
            pipeline.event('info', f'lane {name} is back after {lane.failures} failures')
        self.request(f'lane {name} came up')
        pipeline.changed.notify_all()

    def lane_failed(
        self, worker: LaneWorker, error: Exception, failed: Batch | None = None
    ) -> None:
        """Quarantine a worker's lane and start the worker of its next life.

        Args:
            worker: whose lane it is.
            error: what happened.
            failed: the batch that it happened with, if that is known.
        """
        pipeline = self._pipeline
        name = worker.name
        with pipeline.lock:
            if pipeline.workers[name] is not worker or pipeline.stopping:
                return
            lane = pipeline.dispatcher.lanes[name]
            # Such an error ends the start, see Pipeline.start: nothing is tried again.
            final = lane.state is LaneState.STARTING and isinstance(error, YoloxTrtRosError)
            if lane.state is LaneState.STARTING:
                self._first_errors[name] = without_calls(error)
            why = f'{type(error).__name__}: {error}'
            now_ns = pipeline.clock()
            retry_ns = pipeline.dispatcher.lane_down(name, why, now_ns, failed)
            successor = LaneWorker(worker.spec, pipeline, first=False, not_before_ns=retry_ns)
            pipeline.workers[name] = successor
            if failed is None or not failed.blamed:  # otherwise the camera waits, not the lane
                self._left.setdefault(name, []).append(worker)
            successor.start()
            self.request(f'lane {name} failed')
            pipeline.changed.notify_all()
            worker.wake.notify_all()
            pipeline.dispatch()
        then = f'{lane.state.value}, next attempt in {(retry_ns - now_ns) / 1e9:.1f} s'
        then = 'nothing starts without it' if final else then
        pipeline.event('error', f'lane {name} failed ({why}); {then}')

    def refusal(self) -> YoloxTrtRosError | None:
        """Return why the pipeline must not start, once every lane has come up or failed.

        That is what no second attempt would mend, or that no lane runs.
        """
        errors, self._first_errors = self._first_errors, {}
        for error in errors.values():
            if isinstance(error, YoloxTrtRosError):
                return error
        lanes = self._pipeline.dispatcher.lanes.values()
        if any(lane.state is LaneState.RUNNING for lane in lanes):
            return None
        told = '; '.join(f'{name}: {error!r}' for name, error in errors.items())
        refusal = LaneError(f'no lane came up: {told}')
        refusal.__cause__ = next(iter(errors.values()), None)
        return refusal

    def crowded(self, name: str) -> bool:
        """Return whether too many of a lane's calls have never returned. The lock is held."""
        left = self._left[name] = [worker for worker in self._left.get(name, ()) if worker.alive]
        return len(left) >= MOST_LEFT

    def watch_builds(self) -> None:
        """Tell what lanes are at before they serve, and give up those that never end."""
        pipeline = self._pipeline
        late = []
        with pipeline.lock:
            self._notice_stop()
            now_ns = pipeline.clock()
            for name, lane in pipeline.dispatcher.lanes.items():
                if not lane.doing:
                    continue
                spent_ns = now_ns - lane.doing_since_ns
                limit = f'limit {self._build_timeout_ns / 1e9:g} s (build_timeout_s)'
                told_ns = max(self._told_ns.get(name, 0), lane.doing_since_ns)
                if spent_ns > self._build_timeout_ns:
                    error = TimeoutError(
                        f'still {lane.doing} after {spent_ns / 1e9:.0f} s, {limit}'
                    )
                    late.append((pipeline.workers[name], error))
                elif now_ns >= told_ns + PROGRESS_NS:
                    self._told_ns[name] = now_ns
                    pipeline.event(
                        'info', f'lane {name}: {lane.doing} for {spent_ns / 1e9:.0f} s, {limit}'
                    )
        for worker, error in late:
            self.lane_failed(worker, error)

    def place(self, why: str) -> None:
        """Compute and adopt a placement; the search runs without the lock."""
        pipeline = self._pipeline
        dispatcher = pipeline.dispatcher
        with pipeline.lock:
            problem = dispatcher.homes.problem()
            if not problem.capacities:
                dispatcher.homes.reason = f'no lane is running ({why})'
        if not problem.capacities:
            pipeline.event('error', f'no lane is running ({why}): frames are dropped')
            return
        placement = place(problem.demands, problem.capacities)
        with pipeline.lock:
            moved = dispatcher.homes.adopt(problem, placement, why)
            missing, homes = dispatcher.homes.missing, dispatcher.homes.present()
            pipeline.dispatch()
        if moved:
            self._placements.moved(pipeline.clock(), why, missing, homes)

    def _run(self) -> None:
        pipeline = self._pipeline
        while True:
            with pipeline.lock:
                self._sleep()
                if pipeline.stopping:
                    return
                why, self._because = self._because or self._drift(), ''
                self._notice_stop()
                dispatcher = pipeline.dispatcher
                hung = [
                    (pipeline.workers[name], LaneError(what), dispatcher.lanes[name].running[0])
                    for name, what in dispatcher.overdue(pipeline.clock())
                ]
                # Lanes that are late make others more attractive without any event that says so.
                pipeline.dispatch()
            for worker, error, batch in hung:
                self.lane_failed(worker, error, batch)
            self.watch_builds()
            if why:
                self.place(why)
            self._placements.tell_due(pipeline.clock())

    def _notice_stop(self) -> None:
        """Leave out of all accounts what time the watchdog had not. The lock is held."""
        now_ns, before_ns = self._pipeline.clock(), self._looked_ns
        self._looked_ns = now_ns
        if before_ns is not None and now_ns > before_ns + WATCH_NS + OVERSLEPT_NS:
            self._pipeline.dispatcher.time_lost(before_ns + WATCH_NS, now_ns)

    def _sleep(self) -> None:
        """Wait until something is due. The lock is held."""
        pipeline = self._pipeline
        self._sleeps_until_ns = min(pipeline.clock() + WATCH_NS, pipeline.dispatcher.ask_ns)
        while not self._because and not pipeline.stopping:
            left_ns = self._sleeps_until_ns - pipeline.clock()
            if left_ns <= 0:
                break
            self._due.wait(left_ns / 1e9)

    def _drift(self) -> str:
        now_ns = self._pipeline.clock()
        if now_ns < self._checked_ns + DRIFT_CHECK_NS:
            return ''
        self._checked_ns = now_ns
        return DRIFTED if self._pipeline.dispatcher.homes.drifted() else ''
