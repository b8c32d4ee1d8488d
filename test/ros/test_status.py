"""Status messages as other programs read them: those without ROS too."""

from dataclasses import fields

from rclpy.serialization import serialize_message

from yolox_trt_ros.bags.definitions import Definitions
from yolox_trt_ros.core.config import CameraConfig, CameraSimConfig, LimitsConfig, RigConfig
from yolox_trt_ros.core.errors import DropReason
from yolox_trt_ros.core.snapshot import CameraSnapshot, LaneSnapshot, LaneState, PipelineSnapshot
from yolox_trt_ros.ros.input.intake import IngestNotes
from yolox_trt_ros.ros.status import camera_status, lane_status
from yolox_trt_ros.telemetry.report import Telemetry


def fresh(cls: type, **given: object) -> object:
    """Return a snapshot of what has just been made: zeros and empty."""
    nothing = {'str': '', 'int': 0, 'float': 0.0, 'int | None': None, 'tuple[str, ...]': ()}
    values = {f.name: given.get(f.name, nothing.get(str(f.type), {})) for f in fields(cls)}
    return cls(**values)


def test_the_first_status_of_all_is_readable_without_ros() -> None:
    """Fast CDR pads behind an empty sequence of 8-byte numbers, rosbags and Foxglove do not."""
    camera = fresh(CameraSnapshot, name='a', dropped=dict.fromkeys(DropReason, 0))
    lane = fresh(LaneSnapshot, name='gpu', state=LaneState.STARTING)
    config = CameraConfig('a', RigConfig(), CameraSimConfig())
    report = Telemetry([config], LimitsConfig()).report(
        PipelineSnapshot(1, (camera,), (lane,), 'none yet')
    )
    messages = [camera_status(report.cameras[0], IngestNotes(), 1), lane_status(report.lanes[0])]
    for message in messages:
        name = type(message).__name__
        seen = Definitions().read(f'yolox_trt_ros/msg/{name}', serialize_message(message))
        assert seen.name == message.name
        for field, kind in message.get_fields_and_field_types().items():
            assert 'int64>' not in kind or len(getattr(message, field)), f'{name}.{field} is empty'
