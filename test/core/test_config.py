"""Every parameter refuses bad values, and a vehicle is checked as a whole."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.parameters import Parameter, not_listed, table

SMALLEST: dict[str, Any] = {'camera_names': ['front'], 'lane_names': ['cpu0']}
TABLE = list(table(Config))
WRONG_TYPE = {bool: 'yes', int: 2.5, float: 'fast', str: 7, tuple: 'front'}


def full_name(p: Parameter) -> str:
    return p.name.replace('<name>', 'front' if p.name.startswith('cameras.') else 'cpu0')


def bad_values() -> list[Any]:
    rows = []
    for p in TABLE:
        values = [WRONG_TYPE[p.kind], None]
        values += [] if p.low is None else [p.kind(p.low - 1)]
        values += [] if p.high is None else [p.kind(p.high + 1)]
        values += [float('nan'), float('inf')] if p.kind is float else []
        values += ['nonsense'] if p.choices else []
        values += [True] if p.kind in (int, float) else []
        rows += [pytest.param(full_name(p), v, id=f'{p.name}={v}') for v in values]
    return rows


@pytest.mark.parametrize(('name', 'value'), bad_values())
def test_bad_value_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf'(?m)^{name}: '):
        Config.from_parameters({**SMALLEST, name: value})


@pytest.mark.parametrize('p', TABLE, ids=lambda p: p.name)
def test_parameter_is_described_and_its_default_is_valid(p: Parameter) -> None:
    assert p.description.endswith('.')
    assert p.check(p.default) == p.default


def test_defaults_given_or_left_out_make_the_same_configuration() -> None:
    spelled_out = {full_name(p): p.default for p in TABLE} | SMALLEST
    assert Config.from_parameters(spelled_out) == Config.from_parameters(SMALLEST)


def test_values_reach_their_camera_and_lane() -> None:
    config = Config.from_parameters(
        {
            'camera_names': ['left', 'right'],
            'lane_names': ['gpu'],
            'cameras.right.priority': 3,
            'cameras.right.rig.yaw_deg': -90.0,
            'lanes.gpu.device': 'cuda:1',
            'lanes.gpu.max_batch': 8,
        }
    )
    left, right = config.cameras
    assert (left.name, right.name, config.lanes[0].name) == ('left', 'right', 'gpu')
    assert (left.priority, right.priority, right.rig.yaw_deg) == (1.0, 3.0, -90.0)
    assert isinstance(right.priority, float)
    assert (config.lanes[0].device, config.lanes[0].max_batch) == ('cuda:1', 8)


CONTRADICTIONS = {
    'unknown name': ({'model.score_treshold': 0.5}, 'did you mean "model.score_threshold"'),
    'unknown name in a camera': ({'cameras.front.topc': 'x'}, 'did you mean "cameras.front.topic"'),
    'camera not listed': (
        {'cameras.frnt.topic': '/x'},
        'cameras.frnt: camera_names has no "frnt" — did you mean "front"?',
    ),
    'beginning of a name': ({'model.scor': 0.5}, 'did you mean "model.score_threshold"'),
    'choice like no other': ({'ingest': 'fast'}, 'valid: auto, plain, replayed, simulated'),
    'unknown choice': ({'lanes.cpu0.backend': 'onnx'}, 'did you mean "onnxruntime"'),
    'camera twice': ({'camera_names': ['a', 'b', 'a']}, 'camera_names: "a" is listed twice'),
    'camera name': ({'camera_names': ['front-left']}, '"front-left" must be letters, digits'),
    'no camera': ({'camera_names': []}, 'camera_names: expected 1 to 8 cameras, got 0'),
    'nine cameras': ({'camera_names': list('abcdefghi')}, 'expected 1 to 8 cameras, got 9'),
    'no lane': ({'lane_names': []}, 'lane_names: expected at least one lane'),
    'unknown lane': ({'cameras.front.lane': 'cpu'}, 'called "cpu" — did you mean "cpu0"'),
    'same topic': (
        {'camera_names': ['a', 'b'], 'cameras.b.topic': '/a/image_raw'},
        'cameras.b.topic: "/a/image_raw" is already the topic of a',
    ),
    'encoding of another transport': (
        {'cameras.front.encoding': 'jpeg'},
        'cameras.front.encoding: transport raw needs one of bgr8, rgb8, bgra8, …, got "jpeg"',
    ),
    'encoding by another name': (
        {'cameras.front.encoding': 'yuyv'},
        'cameras.front.encoding: "yuyv" is not one of its values — did you mean "yuv422_yuy2"',
    ),
    'half a size': (
        {'cameras.front.width': 640},
        'cameras.front.width: expected width and height, or none of them, got 640x0',
    ),
    'odd size': (
        {'cameras.front.encoding': 'nv12', 'cameras.front.width': 641, 'cameras.front.height': 480},
        'cameras.front.width: nv12 needs a multiple of 2 and a height that is one of 2, got 641x',
    ),
    'device': ({'lanes.cpu0.device': 'gpu'}, 'expected cpu, cuda:N or dla:N, got "gpu"'),
    'dla with onnxruntime': ({'lanes.cpu0.device': 'dla:0'}, 'lanes.cpu0.backend: a dla lane'),
    'dla with a batch': (
        {'lanes.cpu0.device': 'dla:0', 'lanes.cpu0.backend': 'tensorrt', 'lanes.cpu0.max_batch': 2},
        'lanes.cpu0.max_batch: expected 1 on a dla lane',
    ),
    'tensorrt on a cpu': ({'lanes.cpu0.backend': 'tensorrt'}, 'lanes.cpu0.backend: a cpu lane'),
    'latency limits': (
        {'limits.latency_warn_ms': 300.0, 'limits.latency_error_ms': 200.0},
        'limits.latency_warn_ms: expected at most limits.latency_error_ms = 200, got 300',
    ),
    'drop limits': ({'limits.drop_ratio_warn': 0.95}, 'limits.drop_ratio_warn: expected at most'),
}


@pytest.mark.parametrize(('changes', 'message'), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_contradiction_is_explained(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        Config.from_parameters({**SMALLEST, **changes})
    assert message in str(error.value)


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        Config.from_parameters(
            {**SMALLEST, 'model.nms_iou': 2.0, 'profil': 'x', 'cameras.front.depth': 0}
        )
    assert len(str(error.value).splitlines()) == 3


def test_contradictions_are_reported_with_the_rest_but_not_those_that_follow_from_it() -> None:
    changes = {
        'model.nms_iou': 2.0,
        'limits.latency_warn_ms': 5000.0,
        'lane_names': ['cpu0', 'gpu'],
        'lanes.gpu.device': 7,
        'lanes.gpu.backend': 'tensorrt',
    }
    with pytest.raises(ConfigError) as error:
        Config.from_parameters({**SMALLEST, **changes})
    messages = [line.partition(':')[0] for line in str(error.value).splitlines()]
    assert sorted(messages) == ['lanes.gpu.device', 'limits.latency_warn_ms', 'model.nms_iou']


def block(kind: str, name: str) -> dict[str, Any]:
    """Return all parameters of one camera or lane, at their defaults."""
    rows = {p.name.replace('<name>', name): p.default for p in TABLE if '<name>' in p.name}
    return {n: v for n, v in rows.items() if n.startswith(f'{kind}.{name}.')}


def test_what_is_described_and_not_listed_rests() -> None:
    resting = block('cameras', 'rear') | block('cameras', 'left') | block('lanes', 'gpu')
    assert Config.from_parameters(SMALLEST | resting) == Config.from_parameters(SMALLEST)
    assert not_listed(Config, SMALLEST | resting) == ['cameras.left', 'cameras.rear', 'lanes.gpu']
    both = SMALLEST | resting | {'camera_names': ['rear', 'front'], 'lane_names': ['gpu']}
    config = Config.from_parameters(both)
    assert [c.name for c in config.cameras] == ['rear', 'front']
    assert not_listed(Config, both) == ['cameras.left']


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'cameras.rear.rate_hz': 'fast'}, "cameras.rear.rate_hz: expected float, got 'fast'"),
        ({'cameras.rear.depth': 0}, 'cameras.rear.depth: expected 1 to 1000, got 0'),
        ({'cameras.rear.topc': '/x'}, 'cameras.rear.topc: no such parameter'),
        ({'lanes.gpu.backend': 'none'}, 'lanes.gpu.backend: "none" is not one of its values'),
        ({'cameras.rear-left.topic': '/x'}, 'cameras.rear-left.topic: no such parameter'),
        ({'cameras.rear': 'x'}, 'cameras.rear: no such parameter'),
        ({'cameras.frnt.topic': '/x'}, 'did you mean "front"?'),
    ],
)
def test_what_rests_is_checked_too(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        Config.from_parameters(SMALLEST | changes)
    assert message in str(error.value) and len(str(error.value).splitlines()) == 1


def test_names_that_resemble_each_other_may_rest() -> None:
    six = {f'cameras.cam_{i}.topic': f'/cam_{i}' for i in range(6)}
    config = Config.from_parameters(SMALLEST | six | {'camera_names': ['cam_1', 'cam_4']})
    assert [c.image_topic for c in config.cameras] == ['/cam_1', '/cam_4']


def test_a_camera_that_is_not_enabled_is_left_out_of_everything() -> None:
    names = [f'cam{i}' for i in range(10)]
    off = {f'cameras.{name}.enabled': False for name in names[2:]}
    off |= {'cameras.cam5.topic': '/cam0/image_raw', 'cameras.cam6.lane': 'no such lane'}
    config = Config.from_parameters(SMALLEST | off | {'camera_names': names})
    assert [c.name for c in config.cameras] == ['cam0', 'cam1']
    with pytest.raises(ConfigError, match='got 0, and 1 that are not enabled'):
        Config.from_parameters(SMALLEST | {'cameras.front.enabled': False})


def test_what_is_processed_is_at_most_the_highest_rate() -> None:
    flat = SMALLEST | {'cameras.front.rate_hz': 20}
    (camera,) = Config.from_parameters(flat).cameras
    assert camera.processed_hz == 20.0
    (camera,) = Config.from_parameters(flat | {'cameras.front.max_rate_hz': 5}).cameras
    assert (camera.rate_hz, camera.processed_hz) == (20.0, 5.0)


@pytest.mark.parametrize('name', ['roi', 'fps', 'exposure', 'intrinsics'])
def test_what_is_not_near_is_not_suggested(name: str) -> None:
    with pytest.raises(ConfigError) as error:
        Config.from_parameters(SMALLEST | {f'cameras.front.{name}': 1})
    assert 'did you mean' not in str(error.value)
    assert 'valid: black_level, class_thresholds, crop, crops, deadline_ms, depth, ' in str(
        error.value
    )


@pytest.mark.parametrize('value', [10**400, -(10**400), 10**5000], ids=['400', '-400', '5000'])
def test_a_number_without_end_is_out_of_range(value: int) -> None:
    with pytest.raises(ConfigError, match=r'expected 0\.01 to 1000, got '):
        Config.from_parameters(SMALLEST | {'cameras.front.rate_hz': value})


@pytest.mark.parametrize(
    ('given_topic', 'transport', 'topic'),
    [
        ('', 'raw', '/front/image_raw'),
        ('', 'compressed', '/front/image_raw/compressed'),
        ('/cam0', 'raw', '/cam0'),
        ('/cam0', 'compressed', '/cam0'),
        ('/cam0/compressed', 'compressed', '/cam0/compressed'),
        ('/CAM_FRONT/image_rect_compressed', 'compressed', '/CAM_FRONT/image_rect_compressed'),
    ],
)
def test_image_topic(given_topic: str, transport: str, topic: str) -> None:
    config = Config.from_parameters(
        {
            **SMALLEST,
            'cameras.front.topic': given_topic,
            'cameras.front.transport': transport,
        }
    )
    camera = config.cameras[0]
    assert camera.image_topic == topic
    beside = topic.removesuffix('/compressed').rpartition('/')[0]
    assert camera.sibling_topic('camera_info') == f'{beside}/camera_info'


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)


@given(
    st.dictionaries(
        st.sampled_from([full_name(p) for p in TABLE]) | st.text(max_size=12),
        SCALARS | st.lists(st.sampled_from(['front', 'rear', 'cpu0', '']) | SCALARS, max_size=3),
        max_size=6,
    )
)
def test_whatever_is_given_ends_in_a_configuration_or_a_config_error(flat: dict[str, Any]) -> None:
    try:
        config = Config.from_parameters({**SMALLEST, **flat})
    except ConfigError as error:
        assert str(error)
    else:
        assert config.cameras and config.lanes


@pytest.mark.parametrize(
    'changes',
    [
        {'camera_names': ['\x1b[31m']},
        {'cameras.front.topic': '/a\x1b[31m\nlimits: fine'},
        {'cameras.front.lane': '\u202e'},
        {'lanes.gpu.device': '\x1b]0;x\x07'},
    ],
)
def test_foreign_texts_are_quoted_printable(changes: dict[str, Any]) -> None:
    flat = {'camera_names': ['front'], 'lane_names': ['gpu'], **changes}
    with pytest.raises(ConfigError) as caught:
        Config.from_parameters(flat)
    assert all(line.isprintable() for line in str(caught.value).split('\n'))
    assert 'fine' not in [line.partition(': ')[2] for line in str(caught.value).split('\n')]
