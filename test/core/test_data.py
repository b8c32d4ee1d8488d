"""Detections, frames, traces and the files that ship with the package."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.encodings import ALIASES, RAW
from yolox_trt_ros.core.errors import DropReason, FrameError, did_you_mean
from yolox_trt_ros.core.layouts import MAX_SIDE, SLACK, raw_layout
from yolox_trt_ros.core.nearest import nearest
from yolox_trt_ros.core.resources import find_resource, resource_names
from yolox_trt_ros.core.trace import STAGES, FrameTrace

F32, I32 = np.float32, np.int32


@pytest.mark.parametrize(
    ('xyxy', 'score', 'class_id', 'field'),
    [
        (np.zeros((2, 5), F32), np.zeros(2, F32), np.zeros(2, I32), 'xyxy'),
        (np.zeros(4, F32), np.zeros(4, F32), np.zeros(4, I32), 'xyxy'),
        (np.zeros((2, 4)), np.zeros(2, F32), np.zeros(2, I32), 'xyxy'),
        (np.zeros((2, 4), F32), np.zeros(3, F32), np.zeros(2, I32), 'score'),
        (np.zeros((2, 4), F32), np.zeros((2, 1), F32), np.zeros(2, I32), 'score'),
        (np.zeros((2, 4), F32), np.zeros(2, F32), np.zeros(2, np.int64), 'class_id'),
        (np.zeros((0, 4), F32), np.zeros(0, F32), np.zeros(1, I32), 'class_id'),
    ],
)
def test_detections_that_do_not_fit(
    xyxy: np.ndarray, score: np.ndarray, class_id: np.ndarray, field: str
) -> None:
    with pytest.raises(ValueError, match=f'^{field}: expected .* got '):
        Detections(xyxy, score, class_id)


def test_no_detections_is_a_normal_value() -> None:
    assert len(Detections.empty()) == 0


@st.composite
def layouts(draw: st.DrawFn) -> tuple[str, int, int, int]:
    """Return an encoding, a height and a width it allows, and a step."""
    layout = RAW[draw(st.sampled_from(sorted(RAW)))]
    height = layout.height_multiple * draw(st.integers(1, 40))
    width = layout.width_multiple * draw(st.integers(1, 40))
    return layout.name, height, width, layout.min_step(width) + draw(st.integers(0, 9))


@given(layouts())
def test_layout_that_agrees_with_itself(case: tuple[str, int, int, int]) -> None:
    name, height, width, step = case
    step += step % 2 if name in ('i420', 'yv12') else 0
    rows, least = RAW[name].rows(height), RAW[name].size(height, width, step)
    for size in (least, step * rows, step * rows + 1):
        assert raw_layout(name, height, width, step, size)[0] == name
    for bad in (
        (height, width, step, least - 1),
        (height, width, RAW[name].min_step(width) - 1, step * rows),
        (0, width, step, least),
        (height, MAX_SIDE + 2, 10**6, 10**12),
    ):
        with pytest.raises(FrameError) as error:
            raw_layout(name, *bad)
        assert error.value.reason is DropReason.MALFORMED


@pytest.mark.parametrize(
    ('name', 'height', 'width'),
    [
        ('yuv422', 2, 3),
        ('yuv422_yuy2', 2, 1),
        ('nv12', 3, 2),
        ('nv12', 2, 3),
        ('bayer_rggb8', 3, 2),
    ],
)
def test_size_that_the_encoding_cannot_have(name: str, height: int, width: int) -> None:
    with pytest.raises(FrameError, match='multiple'):
        raw_layout(name, height, width, width * 2, 10**6)


@pytest.mark.parametrize('alias', ALIASES)
def test_alias_is_resolved(alias: str) -> None:
    layout = RAW[ALIASES[alias]]
    size = layout.size(4, 4, layout.min_step(4))
    for written in (alias, alias.upper(), f'{alias}  '):
        assert raw_layout(written, 4, 4, layout.min_step(4), size)[0] == ALIASES[alias]


@pytest.mark.parametrize(
    ('encoding', 'step', 'hint'),
    [
        ('bgr9', 21, 'did you mean "bgr8"?'),
        ('yuy2x', 14, 'did you mean "yuv422_yuy2"?'),
        # Names that look alike and lie otherwise in memory.
        ('brg8', 21, 'read are bgr8, rgb8'),
        *((name, 14, 'read are bgr8, rgb8') for name in ('yvyu', 'VYUY', 'yuv422_vyuy', 'yvyu422')),
        *((name, 14, 'read are bgr8, rgb8') for name in ('nv16', 'Y12P', 'z16', 'gray16be')),
        *((name, 7, 'read are bgr8, rgb8') for name in ('nv42', 'nv15', 'yuv420sp', 'I422')),
        *((name, 28, 'read are bgr8, rgb8') for name in ('abgr8', 'xrgb', 'ARGB8888')),
        ('bayer_rggb12p', 11, 'read are bgr8, rgb8'),
        ('32FC1', 28, 'read are bgr8, rgb8'),
        ('', 21, 'read are bgr8, rgb8'),
    ],
)
def test_unknown_encoding_is_unsupported(encoding: str, step: int, hint: str) -> None:
    with pytest.raises(FrameError, match=f'"{encoding}"') as error:
        raw_layout(encoding, 2, 7, step, 10**6)
    assert error.value.reason is DropReason.UNSUPPORTED
    assert hint in str(error.value)


@pytest.mark.parametrize('encoding', ['nv12', 'nv21', 'i420', 'yv12'])
def test_planes_that_a_driver_describes_as_one_picture(encoding: str) -> None:
    assert raw_layout(encoding, 12, 20, 20, 360) == (encoding, 12, 20)
    assert raw_layout(encoding, 12, 20, 30, 360) == (encoding, 12, 20), 'bytes of all planes'
    assert raw_layout(encoding, 18, 20, 20, 360) == (encoding, 12, 20), 'rows of all planes'
    assert raw_layout(encoding, 18, 20, 24, 18 * 24) == (encoding, 12, 24), 'with padding'
    # Padding of half a row, and all planes are there.
    assert raw_layout(encoding, 12, 20, 30, 540) == (encoding, 12, 30)
    for bad in ((12, 20, 30, 359), (18, 20, 20, 359), (18, 20, 20, 361), (16, 20, 20, 320)):
        with pytest.raises(FrameError) as error:
            raw_layout(encoding, *bad)
        assert error.value.reason is DropReason.MALFORMED


def test_a_payload_is_bounded_by_its_image() -> None:
    for size in (3, 3 + SLACK):
        assert raw_layout('bgr8', 1, 1, 3, size)[0] == 'bgr8'
    assert raw_layout('bgr8', 1080, 1920, 5760, 5760 * 1088)[0] == 'bgr8', 'rows of padding'
    for height, width, step, size in (
        (1, 1, 3, 60_000_000),
        (1, 1, 60_000_000, 60_000_000),
        (1080, 1920, 5760, 5760 * 1080 * 2),
        (16384, 1, 4096, 4096 * 16384),
    ):
        with pytest.raises(FrameError) as error:
            raw_layout('bgr8', height, width, step, size)
        assert error.value.reason is DropReason.MALFORMED
    # A small part of a larger image keeps the larger one's step.
    assert raw_layout('mono8', 64, 64, 16384, 64 * 16384)[0] == 'mono8'


def test_stages_add_up() -> None:
    trace = FrameTrace('front', 0, 'cpu0', 1, 0, 100, 100, 101, 103, 107, 115, 131, 163)
    assert tuple(trace.stages_ns()) == STAGES
    assert list(trace.stages_ns().values()) == [0, 1, 2, 4, 8, 16, 32]
    assert trace.total_ns == 63


@pytest.mark.parametrize(
    ('name', 'hint'),
    [('cpu', '— did you mean "cpu0"?'), ('zzz', '; valid: cpu0, gpu')],
)
def test_suggestion(name: str, hint: str) -> None:
    assert hint in did_you_mean(name, ['gpu', 'cpu0'])
    assert did_you_mean(name, []) == ''


PARAMETERS = [
    f'cameras.{camera}.{name}'
    for camera in ('front', 'rear')
    for name in ('depth', 'lane', 'priority', 'rate_hz', 'reliability', 'sim.width', 'topic')
] + [f'model.{name}' for name in ('nms_iou', 'path', 'score_threshold', 'labels', 'antialias')]


@pytest.mark.parametrize(
    ('name', 'meant'),
    [
        ('cameras.front.topc', 'cameras.front.topic'),
        ('cameras.rera.topic', 'cameras.rear.topic'),
        ('cameras.front.Rate-Hz', 'cameras.front.rate_hz'),
        ('cameras.front.rate', 'cameras.front.rate_hz'),
        ('score_threshold', 'model.score_threshold'),
        ('modle.paht', 'model.path'),
        ('model.paths', 'model.path'),
    ],
)
def test_a_slip_of_the_hand_is_near(name: str, meant: str) -> None:
    assert did_you_mean(name, PARAMETERS) == f' — did you mean "{meant}"?'


@pytest.mark.parametrize(
    'name',
    ['cameras.front.roi', 'cameras.front.fps', 'cameras.front.exposure', 'cameras.front.name'],
)
def test_what_is_not_near_is_not_suggested(name: str) -> None:
    listed = '; valid: depth, lane, priority, rate_hz, reliability, topic'
    assert did_you_mean(name, [*PARAMETERS, *'abcdefgh']) == listed


@pytest.mark.parametrize('name', ['', 'x', 'roi', 'threshold.of.score', 'a' * 10**6, '\x1b[31m'])
def test_nonsense_gets_no_suggestion(name: str) -> None:
    assert 'did you mean' not in did_you_mean(name, PARAMETERS * 20)


@given(st.text(max_size=12), st.lists(st.text(max_size=12), max_size=5))
def test_a_suggestion_is_one_line_and_a_valid_name_is_its_own(name: str, names: list[str]) -> None:
    assert len(did_you_mean(name, names).splitlines()) <= 1
    if name:
        assert nearest(name, [*names, name]).lower().replace('-', '_') == name.lower().replace(
            '-', '_'
        )


def test_resources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = tmp_path / 'share' / 'yolox_trt_ros' / 'models'
    models.mkdir(parents=True)
    (models / 'robot_only.onnx').touch()
    monkeypatch.setenv('AMENT_PREFIX_PATH', f':{tmp_path / "nowhere"}:{tmp_path}')
    assert find_resource('models', 'robot_only', '.onnx') == models / 'robot_only.onnx'
    assert find_resource('models', 'robot_only.onnx') == models / 'robot_only.onnx'
    assert 'robot_only' in resource_names('models', '.onnx')
    # A path stays a path, and a name that nothing has comes back for the error message.
    assert find_resource('models', './robot_only.onnx') == Path('robot_only.onnx')
    assert find_resource('models', str(models / 'x.onnx')) == models / 'x.onnx'
    assert find_resource('models', 'nothing', '.onnx') == Path('nothing')
