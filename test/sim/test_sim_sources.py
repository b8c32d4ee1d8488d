"""Encodings, picture sources and the timing of simulated cameras."""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.encodings import COMPRESSED, RAW
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.layouts import raw_layout
from yolox_trt_ros.detect.cpu.preprocess import bgr_image
from yolox_trt_ros.sim.encode import HEAD_ROOM, encode, fit
from yolox_trt_ros.sim.sources import FolderSource, VideoSource, open_source, played
from yolox_trt_ros.sim.streams import CameraStreams, Shot, StreamCount, Ticks, to_frame

WIDTH, HEIGHT = 48, 32

# OpenCV's way back to BGR, and how far rounding and chroma averaging may carry a smooth picture.
BACK: dict[str, tuple[int | None, int]] = {
    'bgr8': (None, 0),
    'rgb8': (cv2.COLOR_RGB2BGR, 0),
    'bgra8': (cv2.COLOR_BGRA2BGR, 0),
    'rgba8': (cv2.COLOR_RGBA2BGR, 0),
    'yuv422': (cv2.COLOR_YUV2BGR_UYVY, 4),
    'yuv422_yuy2': (cv2.COLOR_YUV2BGR_YUY2, 4),
    'nv12': (cv2.COLOR_YUV2BGR_NV12, 6),
    'nv21': (cv2.COLOR_YUV2BGR_NV21, 6),
    'i420': (cv2.COLOR_YUV2BGR_I420, 6),
    'yv12': (cv2.COLOR_YUV2BGR_YV12, 6),
    'bayer_rggb8': (cv2.COLOR_BayerBG2BGR, 4),
    'bayer_bggr8': (cv2.COLOR_BayerRG2BGR, 4),
    'bayer_gbrg8': (cv2.COLOR_BayerGR2BGR, 4),
    'bayer_grbg8': (cv2.COLOR_BayerGB2BGR, 4),
}


def smooth(width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Return a picture whose colours change slowly, each channel in another direction."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    return (np.stack([40 + 90 * x, 200 - 80 * y, 60 + 60 * (x + y)], -1)).astype(np.uint8)


def config(cameras: dict[str, dict[str, Any]], **sim: Any) -> Config:
    flat: dict[str, Any] = {'camera_names': list(cameras), 'lane_names': ['cpu']}
    flat |= {f'sim.{name}': value for name, value in sim.items()}
    for camera, values in cameras.items():
        flat |= {f'cameras.{camera}.{name}': value for name, value in values.items()}
    return Config.from_parameters(flat)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of four pictures of one grey each."""
    for number in range(4):
        cv2.imwrite(str(tmp_path / f'{number}.png'), np.full((9, 15, 3), 50 * number, np.uint8))
    (tmp_path / 'notes.txt').write_text('no picture')
    return tmp_path


@pytest.mark.parametrize('encoding', sorted(BACK))
def test_opencv_reads_what_encode_writes(encoding: str) -> None:
    image = encode(smooth(), encoding)
    layout = RAW[encoding]
    rows = image.data.reshape(layout.rows(HEIGHT), WIDTH, layout.bytes_per_pixel)
    pixels = rows[..., 0] if layout.bytes_per_pixel == 1 else rows
    conversion, tolerance = BACK[encoding]
    back = pixels if conversion is None else cv2.cvtColor(np.ascontiguousarray(pixels), conversion)
    inner = (slice(2, -2), slice(2, -2))  # demosaicing guesses at the border
    difference = np.abs(back.astype(int) - smooth())[inner]
    assert difference.max() <= tolerance
    assert image.step == layout.min_step(WIDTH)
    assert raw_layout(encoding, HEIGHT, WIDTH, image.step, image.data.size)[0] == encoding


@pytest.mark.parametrize('encoding', RAW)
def test_every_encoding_comes_back(encoding: str) -> None:
    image = encode(smooth(), encoding)
    frame = Frame(
        'front', 0, 0, 0, '', encoding, HEIGHT, WIDTH, image.step, image.data, levels=(0, 65535)
    )
    wanted = smooth()
    if 'mono' in encoding:
        wanted = cv2.cvtColor(cv2.cvtColor(wanted, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    inner = (slice(2, -2), slice(2, -2))
    assert np.abs(bgr_image(frame).astype(int) - wanted)[inner].max() <= 6


def test_mono8_is_opencvs_grey() -> None:
    grey = cv2.cvtColor(smooth(), cv2.COLOR_BGR2GRAY)
    assert np.array_equal(encode(smooth(), 'mono8').data.reshape(HEIGHT, WIDTH), grey)


@pytest.mark.parametrize(('encoding', 'tolerance'), [('png', 0), ('jpeg', 12), ('webp', 12)])
def test_compressed_pictures_decode(encoding: str, tolerance: int) -> None:
    back = cv2.imdecode(encode(smooth(), encoding).data, cv2.IMREAD_COLOR)
    assert np.abs(back.astype(int) - smooth()).max() <= tolerance


def test_payload_is_read_only_and_has_head_room() -> None:
    image = encode(smooth(), 'bgr8')
    assert image.buffer.size == HEAD_ROOM + smooth().size
    with pytest.raises(ValueError, match='read-only'):
        image.data[0] = 0


def test_encode_refuses_what_it_cannot_write() -> None:
    with pytest.raises(ConfigError, match='did you mean "bgr8"'):
        encode(smooth(), 'bgr9')
    with pytest.raises(ConfigError, match='did you mean "yuv422_yuy2"'):
        encode(smooth(), 'yuy2')
    with pytest.raises(ConfigError, match='nv12 picture needs a width'):
        encode(smooth(15, 9), 'nv12')
    with pytest.raises(ValueError, match='expected uint8'):
        encode(smooth()[..., 0], 'bgr8')


@given(
    width=st.integers(2, 40),
    height=st.integers(2, 40),
    encoding=st.sampled_from([*RAW, *COMPRESSED]),
    wanted=st.tuples(st.sampled_from([0, 7, 20]), st.sampled_from([0, 9, 30])),
)
@settings(max_examples=60, deadline=None)
def test_every_size_can_be_published(
    width: int, height: int, encoding: str, wanted: tuple[int, int]
) -> None:
    picture = fit(smooth(width, height), encoding, *wanted)
    if min(picture.shape[:2]) < 1:
        return  # a single odd row or column was all there was
    image = encode(picture, encoding)
    for size, want, multiple in (
        (image.width, wanted[0], getattr(RAW.get(encoding), 'width_multiple', 1)),
        (image.height, wanted[1], getattr(RAW.get(encoding), 'height_multiple', 1)),
    ):
        assert not want or size == want - want % multiple


@pytest.mark.parametrize(
    ('said', 'look'),
    [
        ({}, ('bgr8', 0, 0)),
        ({'encoding': 'nv12', 'width': 640, 'height': 480}, ('nv12', 0, 0)),
        ({'encoding': 'nv12', 'width': 640, 'height': 480, 'sim.height': 20}, ('nv12', 0, 20)),
        ({'encoding': 'nv12', 'sim.encoding': 'mono8'}, ('mono8', 0, 0)),
        ({'sim.source': 'world'}, ('bgr8', 960, 640)),
        ({'sim.source': 'world', 'width': 64, 'height': 48}, ('bgr8', 64, 48)),
        ({'transport': 'compressed'}, ('jpeg', 0, 0)),
    ],
)
def test_cameras_play_as_they_are_unless_sim_says_otherwise(
    said: dict[str, Any], look: tuple[str, int, int]
) -> None:
    cameras = config({'a': said}, source='folder')
    camera = played(cameras, cameras.cameras[0])
    assert (camera.encoding, camera.width, camera.height) == look


def test_folder_starts_where_it_is_asked_to(folder: Path) -> None:
    source = FolderSource(folder, start=0.5)
    assert source.count == 4
    assert [int(source.picture(i)[0, 0, 0]) for i in range(4)] == [100, 150, 0, 50]


def test_cameras_that_share_a_folder_differ(folder: Path) -> None:
    cameras = config({'a': {}, 'b': {}, 'c': {'sim.source': str(folder)}}, source=str(folder))
    first = [int(open_source(cameras, c).picture(0)[0, 0, 0]) for c in cameras.cameras]
    assert first == [0, 50, 100]


def test_video_plays_in_any_order(tmp_path: Path) -> None:
    file = tmp_path / 'grey.avi'
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*'MJPG'), 20.0, (64, 48))
    if not writer.isOpened():
        pytest.skip('this OpenCV has no MJPG writer')
    for number in range(6):
        writer.write(np.full((48, 64, 3), 40 * number, np.uint8))
    writer.release()
    source = VideoSource(file)
    assert (source.count, source.rate_hz) == (6, 20.0)
    levels = [int(source.picture(i).mean()) for i in (0, 1, 4, 2, 5, 0)]
    assert np.allclose(levels, [0, 40, 160, 80, 200, 0], atol=6)


@pytest.mark.parametrize(
    ('source', 'message'),
    [
        ('nowhere', 'sim.source: "nowhere" does not exist'),
        ('{folder}/notes.txt', 'is no video file'),
        ('{folder}/empty', 'no image in this folder'),
        ('{folder}/fake.mp4', 'not a video'),
    ],
)
def test_bad_sources_are_named(folder: Path, source: str, message: str) -> None:
    (folder / 'empty').mkdir()
    (folder / 'fake.mp4').write_text('no video')
    cameras = config({'a': {}}, source=source.format(folder=folder))
    with pytest.raises(ConfigError, match=message):
        open_source(cameras, cameras.cameras[0])


def test_damaged_image_is_named(folder: Path) -> None:
    (folder / '2.png').write_text('no picture')
    with pytest.raises(ConfigError, match=r'2\.png: not an image'):
        CameraStreams(config({'a': {}}, source=str(folder)), lambda shot: None)


@given(
    rate=st.floats(0.5, 240.0),
    phase=st.floats(0.0, 0.99),
    jitter=st.sampled_from([0.0, 3.0, 1000.0]),
)
@settings(max_examples=50, deadline=None)
def test_ticks_keep_order_and_never_drift(rate: float, phase: float, jitter: float) -> None:
    count = 400
    times = list(itertools.islice(Ticks(rate, phase, jitter, seed=1), count))
    assert times == sorted(times)
    period = 1e9 / rate
    places = [(n + phase) * period for n in range(count)]
    most = 0.5 * period if jitter else 1
    assert max(abs(t - p) for t, p in zip(times, places, strict=True)) <= most


def play(cameras: Config, shots: int, **options: Any) -> tuple[list[Shot], dict[str, StreamCount]]:
    """Return the first ``shots`` shots, and the counts when they had been taken."""
    taken: list[Shot] = []
    enough = threading.Event()

    def take(shot: Shot) -> None:
        taken.append(shot)
        if len(taken) >= shots:
            enough.set()

    streams = CameraStreams(cameras, take, **options)
    streams.start()
    assert enough.wait(30)
    streams.stop()
    assert not streams.running
    return taken, streams.counts


@pytest.mark.parametrize('cache_bytes', [0, 1 << 20])
def test_streams_play_every_camera_in_a_loop(folder: Path, cache_bytes: int) -> None:
    cameras = config(
        {
            'a': {'rate_hz': 100.0},
            'b': {'rate_hz': 50.0, 'transport': 'compressed', 'sim.encoding': 'png'},
        },
        source=str(folder),
    )
    shots, counts = play(cameras, 30, cache_bytes=cache_bytes)
    for name, encoding in (('a', 'bgr8'), ('b', 'png')):
        mine = [shot for shot in shots if shot.camera == name]
        assert mine
        assert {shot.image.encoding for shot in mine} == {encoding}
        assert [shot.index for shot in mine] == [shot.tick % 4 for shot in mine]
        assert [shot.tick for shot in mine] == sorted({shot.tick for shot in mine})
        assert counts[name].sent == len(mine)
        # Every tick is accounted for: handed out, or counted as skipped.
        assert mine[-1].tick + 1 <= counts[name].sent + counts[name].skipped
    period = {'a': 10_000_000, 'b': 20_000_000}
    assert all(
        (shot.due_ns - shots[0].due_ns) % period[shot.camera] % 5_000_000 == 0 for shot in shots
    )


def test_one_trigger_for_all_cameras(folder: Path) -> None:
    cameras = config({name: {'rate_hz': 20.0} for name in 'abc'}, source=str(folder))
    together = replace(cameras, sim=replace(cameras.sim, trigger='together'))
    shots, _ = play(together, 9)
    ticks = {shot.tick for shot in shots}  # a busy machine leaves some out
    assert len(ticks) < len(shots)
    for tick in ticks:
        assert len({shot.due_ns for shot in shots if shot.tick == tick}) == 1


def test_pictures_are_kept_once_for_cameras_that_look_the_same(folder: Path) -> None:
    cameras = config({'a': {}, 'b': {}, 'c': {'sim.encoding': 'mono8'}}, source=str(folder))
    streams = CameraStreams(cameras, lambda shot: None)
    a, b, c = (streams.loop(name) for name in 'abc')
    assert a.image(1) is b.image(0)  # b starts one picture later
    assert c.image(1) is not a.image(1)


def test_slow_receiver_is_counted_not_hidden(folder: Path) -> None:
    cameras = config({'a': {'rate_hz': 200.0}}, source=str(folder))
    taken: list[Shot] = []
    enough = threading.Event()

    def slow(shot: Shot) -> None:
        taken.append(shot)
        time.sleep(0.02)
        if len(taken) >= 5:
            enough.set()

    streams = CameraStreams(cameras, slow)
    streams.start()
    assert enough.wait(30)
    streams.stop()
    count = streams.counts['a']
    assert count.skipped > 0
    assert taken[-1].tick + 1 <= count.sent + count.skipped


def test_failing_receiver_ends_the_streams_and_is_reported(folder: Path) -> None:
    def fail(shot: Shot) -> None:
        raise OSError('no disk')

    streams = CameraStreams(config({'a': {'rate_hz': 100.0}}, source=str(folder)), fail)
    streams.start()
    deadline = time.monotonic() + 30
    while streams.running and time.monotonic() < deadline:
        time.sleep(0.01)
    with pytest.raises(OSError, match='no disk'):
        streams.stop()
    streams.stop()


@pytest.mark.parametrize(
    ('transport', 'encoding'), [('compressed', 'bgr8'), ('raw', 'jpeg'), ('raw', 'png')]
)
def test_encoding_must_fit_the_transport(folder: Path, transport: str, encoding: str) -> None:
    camera = {'transport': transport, 'sim.encoding': encoding}
    with pytest.raises(ConfigError, match=r'cameras\.a\.sim\.encoding'):
        CameraStreams(config({'a': camera}, source=str(folder)), lambda shot: None)


def test_shot_becomes_a_frame(folder: Path) -> None:
    cameras = config({'a': {'rate_hz': 100.0, 'sim.encoding': 'rgb8'}}, source=str(folder))
    shots, _ = play(cameras, 2)
    frame = to_frame(shots[1], sequence=7, stamp_ns=11, received_ns=13)
    assert (frame.camera, frame.sequence, frame.stamp_ns, frame.received_ns) == ('a', 7, 11, 13)
    assert frame.frame_id == 'a_optical_frame'
    assert (frame.height, frame.step, len(frame.data)) == (9, 45, 9 * 45)
