"""The detector node: cameras in, Detection2DArray out."""

from __future__ import annotations

if __name__ == '__main__':
    from yolox_trt_ros.core.interruption import begin

    begin(0)

import argparse
import sys
import traceback
from contextlib import ExitStack
from functools import partial
from typing import Any

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from yolox_trt_ros.compose import Models, lane_specs, load_models
from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.errors import ConfigError, YoloxTrtRosError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.trace import FrameTrace
from yolox_trt_ros.packaged_models import caution
from yolox_trt_ros.ros.dds.settings import shortcomings
from yolox_trt_ros.ros.event_log import log_event
from yolox_trt_ros.ros.input.camera_watch import CameraWatch
from yolox_trt_ros.ros.input.ingest import check_inputs, open_ingest
from yolox_trt_ros.ros.input.intake import Ingest, IngestNotes
from yolox_trt_ros.ros.output.messages import check_outputs
from yolox_trt_ros.ros.output.publishers import ResultPublishers
from yolox_trt_ros.ros.parameters import flat_table, forget_removed, read_parameters
from yolox_trt_ros.ros.process import run_node
from yolox_trt_ros.ros.status import StatusPublisher
from yolox_trt_ros.ros.transitions import Transitions
from yolox_trt_ros.ros.vehicle_node import VehicleNode
from yolox_trt_ros.schedule.pipeline import Pipeline, PipelineOptions
from yolox_trt_ros.telemetry.report import PipelineReport, Telemetry, inactive
from yolox_trt_ros.telemetry.score_watch import ScoreWatch
from yolox_trt_ros.track.cameras import tracked

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE
DRAIN_S = 5.0


class DetectorNode(VehicleNode, LifecycleNode):
    """Configure loads and warms up, activate subscribes, deactivate drains, cleanup frees.

    With ``autostart`` it configures and activates itself once somebody spins it. Transitions run
    on a thread of their own, see :class:`Transitions`; the executor answers meanwhile.

    The path of a frame: :class:`Ingest` → :class:`Pipeline` (mailbox, policy, lane, detector) →
    :class:`ResultPublishers`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__('detector', **options)
        self._config: Config | None = None
        self._fixed: Config | None = None  # what runs, or is being set up
        self._ready = False  # whether it runs
        self._models: Models | None = None
        self._pipeline: Pipeline | None = None
        self._telemetry: Telemetry | None = None
        self._results: ResultPublishers | None = None
        self._ingest: Ingest | None = None
        self._problem = 'not configured'
        self._built, self._tenths = False, dict[str, int]()
        self._failure: YoloxTrtRosError | None = None  # of a node that only builds
        self._cautions: dict[str, str] = {}  # of cameras
        self._scores = ScoreWatch()
        self._notes: dict[str, IngestNotes] = {}
        self._camera_watch: CameraWatch | None = None
        self._status = StatusPublisher(self, self._report)
        self._transitions = Transitions(self)
        if read_parameters(self).get('autostart') is not False:
            self._transitions.when_spun(self.trigger_configure, self.trigger_activate)

    # -- lifecycle -------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Check the parameters, load the model, start and measure the lanes."""
        try:
            self._configure()
        except YoloxTrtRosError as error:
            self._problem = f'not configured: {error}'
            if read_parameters(self).get('build_only') is True:
                self._failure = error
            elif not self._transitions.closed:
                self.get_logger().error(self._problem)
        except Exception:
            self._problem = f'not configured: {traceback.format_exc()}'
            self.get_logger().error(self._problem)
        else:
            if not self._built:
                return super().on_configure(state)
        self._free()
        return FAILURE

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe to the cameras."""
        assert self._config and self._pipeline and self._results
        try:
            ingest = open_ingest(self, self._config, self._pipeline)
        except Exception as error:
            problem = error if isinstance(error, YoloxTrtRosError) else traceback.format_exc()
            self.get_logger().error(f'not active: {problem}')
            return FAILURE
        self._notes = ingest.notes
        for notes in self._notes.values():
            notes.results = self._results.encoder
        self._camera_watch = (
            CameraWatch(self, self._config, self.get_logger().warning)
            if self._config.ingest in ('auto', 'plain')
            else None
        )
        self._ingest = ingest  # from now on the status reports it
        count = len(self._config.cameras)
        self.get_logger().info(
            f'active: {count} camera{"s" * (count > 1)}; images come in {ingest.mode}, '
            f'results go out as {self._results.encoder}'
        )
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe and let the lanes finish what waits."""
        assert self._pipeline
        self._unsubscribe()
        if not self._pipeline.drain(DRAIN_S):
            self.get_logger().warning(f'frames were still in flight after {DRAIN_S:g} s')
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free lanes, model and publishers."""
        self._problem = 'not configured'
        self._free()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything, from any state."""
        self._problem = 'shut down'
        self._free()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything so that the node can be configured again."""
        self._free()
        return SUCCESS

    def keep_running(self) -> bool:
        """Return True: only an interruption ends the node, unless it shall only build."""
        if self._failure:
            raise self._failure
        return not self._built

    def close(self) -> None:
        """Stop every thread; the node is destroyed next."""
        self._transitions.close()
        self._status.close()
        if not self._transitions.join(0.0) and (pipeline := self._pipeline):
            pipeline.stop(drain=False, timeout_s=DRAIN_S)  # a configure may be waiting for lanes
        if not self._transitions.join(DRAIN_S):
            self.get_logger().warning(f'{self._transitions.running} did not end: left behind')
        self._free()

    def destroy_node(self) -> None:
        """Free the node, and with it what this process has in the middleware."""
        super().destroy_node()
        # It keeps the node's handle: others would never hear that this participant has gone.
        self._state_machine.destroy_when_not_in_use()

    def _go_on(self) -> None:
        """Raise if the node ends: configure asks between its long steps."""
        if self._transitions.closed:
            raise YoloxTrtRosError('the node ends')

    def _configure(self) -> None:
        self._problem = 'being configured: lanes are built and measured'
        with self.parameter_lock:
            if self._config:
                forget_removed(self, self._config)
            self._config = self._fixed = config = self.settle()
        for lane in (lane for lane in config.lanes if lane.reason):
            self.get_logger().info(f'lane {lane.name}: backend {lane.backend}: {lane.reason}')
        for shortcoming in shortcomings(config):
            self.get_logger().warning(shortcoming)
        self._models = models = load_models(config, self.get_logger().info)
        said = {name: caution(model.path) for name, model in models.by_name.items()}
        self._cautions = {c: said[name] for c, name in models.cameras.items() if said[name]}
        for text in dict.fromkeys(self._cautions.values()):
            self.get_logger().warning(text)
        self._scores = ScoreWatch()
        self._go_on()
        for name, model in models.by_name.items():
            image, count = model.spec.input, len(model.spec.labels)
            about = f'{model.path}: {image.width}x{image.height}, {count} classes'
            self.get_logger().info(f'{config.used_models[name].where} {about}')
        if config.build_only:
            self._build(config, models)
            return
        check_inputs(config)
        self._results = ResultPublishers.of(self, config, models)
        self._telemetry = Telemetry(config.cameras, config.limits)
        self._notes = {camera.name: IngestNotes() for camera in config.cameras}
        self._pipeline = Pipeline(
            config.cameras,
            sink=tracked(config, self._publish if self._cautions else self._results.detections),
            lanes=lane_specs(config, models, self._on_build, self.get_logger().info),  # slow: last
            on_trace=self._on_trace,
            on_event=partial(log_event, self.get_logger()),
            on_problem=self._on_problem,
            options=PipelineOptions.of(config),
        )
        self._go_on()
        self._pipeline.start()
        self._ready = True

    def _build(self, config: Config, models: Models) -> None:
        """Build what the lanes lack; the node ends then."""
        lane_specs(config, models, self._on_build, self.get_logger().info)
        self._problem, self._built = 'build_only: every lane has what it runs; the node ends', True
        self.get_logger().info(self._problem)

    def _on_build(self, fraction: float, lane: str) -> None:
        self._go_on()
        progress = f'building the engine of lane {lane}: {fraction:.0%}'
        self._problem = f'being configured: {progress}'
        if self._tenths.get(lane) != (tenth := int(10 * fraction)):
            self._tenths[lane] = tenth
            self.get_logger().info(progress)

    def _unsubscribe(self) -> None:
        ingest, self._ingest = self._ingest, None
        if ingest:
            ingest.close()

    def _free(self) -> None:
        with self.parameter_lock:  # from now on, parameters are those of the next configure
            self._fixed, self._ready = None, False
        # Last in, first out; what one of them raises does not keep the others from running.
        with ExitStack() as closing:
            closing.callback(self._close_results)
            closing.callback(self._stop_pipeline)
            closing.callback(self._unsubscribe)

    def _stop_pipeline(self) -> None:
        pipeline, self._pipeline = self._pipeline, None
        if pipeline:
            pipeline.stop(timeout_s=DRAIN_S)

    def _close_results(self) -> None:
        results, self._results = self._results, None
        if results:
            results.close()

    # -- what the pipeline shows -----------------------------------------------------------

    def _publish(self, frame: Frame, found: Detections) -> None:
        """Publish a result of a packaged model, and look whether it is at home here."""
        assert self._results
        self._results.detections(frame, found)
        if frame.camera in self._cautions:
            self._scores.add(frame.camera, found.score)

    def _on_trace(self, frame: Frame, trace: FrameTrace) -> None:
        assert self._telemetry and self._results
        self._telemetry.record(trace)
        self._notes[frame.camera].published_stamp_ns = frame.stamp_ns
        self._results.latency(frame, trace)

    def _on_problem(self, camera: str, problem: str) -> None:
        self._notes[camera].note_problem(problem)

    def _report(self) -> tuple[PipelineReport, dict[str, IngestNotes]] | str:
        pipeline, telemetry = self._pipeline, self._telemetry
        if pipeline is None or telemetry is None:
            return self._problem
        report = telemetry.report(pipeline.snapshot())
        if self._ingest is None:
            return inactive(report), self._notes
        if self._camera_watch:
            self._camera_watch.look(report, self._notes)
        for camera, text in self._cautions.items():
            hint = self._scores.hint(camera)
            self._notes[camera].hint = f'{hint}; {text}' if hint else ''
        return report, self._notes

    # -- parameters ------------------------------------------------------------------------

    def may_change(self, changed: dict[str, Any]) -> None:
        """Refuse what is read by configure only, and what configure has read and not set up yet.

        Raises:
            ConfigError: one of them may not change.
        """
        if self._fixed is None:
            return  # checked as a whole by configure
        known = flat_table(self._fixed)
        for name in changed:
            if name in known and not known[name].runtime:
                raise ConfigError(
                    f'{name}: is read at configure; run cleanup, set it, run configure'
                )
            if name in known and not self._ready:
                raise ConfigError(f'{name}: the node is being configured; set it afterwards')
        config = Config.from_parameters({**read_parameters(self), **changed})
        if self._models and self._ready:
            check_outputs(config, self._models.rules_for(config))

    def follow_parameters(self) -> None:
        """Make lanes, results and placement follow parameters that changed."""
        if self._fixed and self._ready:
            config = Config.from_parameters(read_parameters(self))
            if config != self._fixed:
                self._fixed = config
                self._apply(config)

    def _apply(self, config: Config) -> None:
        assert self._models and self._pipeline and self._telemetry and self._results
        self._config = config
        self._models.use(self._models.thresholds_for(config))
        self._results.publish_labels(config, self._models.rules, self._models.by_camera)
        for camera in config.cameras:
            self._pipeline.update_camera(
                camera.name,
                priority=camera.priority,
                deadline_ms=camera.deadline_ms,
                limits=(camera.max_megapixels, camera.max_decode_ms),
                max_rate_hz=camera.max_rate_hz,
            )
            self._telemetry.update_camera(camera.name, timeout_ms=camera.timeout_ms)


def main(args: list[str] | None = None) -> int:
    """Run the node until it is interrupted; return the process's exit code."""
    parser = argparse.ArgumentParser(
        prog='detector_node',
        description='Detect objects in the images of up to eight cameras. Everything is set by '
        'ROS parameters; a vehicle file holds all of them.',
        epilog='example: ros2 run yolox_trt_ros detector_node --ros-args '
        '--params-file laptop_8cam.param.yaml',
    )
    # Lane threads hold the GIL for well under a millisecond; the ingest thread must not wait the
    # default 5 ms for it.
    sys.setswitchinterval(0.0005)
    return run_node(parser, lambda _stopping: DetectorNode(), args)


if __name__ == '__main__':
    sys.exit(main())
