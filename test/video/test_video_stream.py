"""Packets to pictures: libav's own, bit for bit, or a counted reason; never a wrong one."""

from __future__ import annotations

import tracemalloc
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from videos import ENCODERS, GROUP, av, encode, pictures

from yolox_trt_ros.core.errors import DropReason, FrameError
from yolox_trt_ros.video.bitstream import MOST_UNITS
from yolox_trt_ros.video.libav import DECODERS
from yolox_trt_ros.video.stream import MOST_BYTES, VideoStream, codec_of, head_of

COUNT = 13
WAITING, UNDECODABLE = DropReason.WAITING_FOR_KEY_FRAME, DropReason.UNDECODABLE
QUIET = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


@cache
def packets(codec: str) -> list[bytes]:
    return encode(codec, list(pictures(COUNT)))


@cache
def libav(codec: str) -> list[np.ndarray]:
    """Return what libav decodes, planes of 4:2:0."""
    context: Any = av.CodecContext.create(DECODERS[codec], 'r')
    frames = [f for p in packets(codec) for f in context.decode(av.Packet(p))]
    return [frame.to_ndarray() for frame in frames + context.decode(None)]


def decoded(stream: VideoStream, codec: str, parts: list[bytes]) -> list[np.ndarray | DropReason]:
    """Return each packet's image, or why there is none."""
    found: list[np.ndarray | DropReason] = []
    for part in parts:
        try:
            found.append(stream.decode(codec, part).image)
        except FrameError as error:
            found.append(error.reason)
    return found


def reasons(found: list[np.ndarray | DropReason]) -> list[DropReason | None]:
    return [item if isinstance(item, DropReason) else None for item in found]


@pytest.mark.parametrize('codec', ENCODERS)
def test_every_picture_is_libavs(codec: str) -> None:
    found = decoded(VideoStream(), codec, packets(codec))
    assert len(libav(codec)) == COUNT
    for image, wanted in zip(found, libav(codec), strict=True):
        assert isinstance(image, np.ndarray) and np.array_equal(image, wanted)


@pytest.mark.parametrize('codec', ENCODERS)
def test_joined_in_the_middle_it_waits_for_a_key_frame(codec: str) -> None:
    found = decoded(VideoStream(), codec, packets(codec)[3:])
    assert reasons(found) == [WAITING] * (GROUP - 3) + [None] * (COUNT - GROUP)
    assert np.array_equal(found[-1], libav(codec)[-1])
    with pytest.raises(FrameError, match='waiting for a key frame: the stream was joined in the'):
        VideoStream().decode(codec, packets(codec)[1])


@pytest.mark.parametrize('codec', ['h264', 'h265'])
@QUIET
@given(lost=st.sets(st.integers(0, COUNT - 1), max_size=5))
def test_whatever_is_lost_no_picture_is_wrong(codec: str, lost: set[int]) -> None:
    kept = [i for i in range(COUNT) if i not in lost]
    found = decoded(VideoStream(), codec, [packets(codec)[i] for i in kept])
    for i, image in zip(kept, found, strict=True):
        key = i - i % GROUP
        if lost.isdisjoint(range(key, i)):
            assert isinstance(image, np.ndarray), f'{i} needs nothing that was lost'
        if isinstance(image, np.ndarray):
            assert np.array_equal(image, libav(codec)[i]), f'{i} is wrong'


@pytest.mark.parametrize('codec', ENCODERS)
@QUIET
@given(st.data())
def test_damaged_packets_are_counted_and_forgotten(codec: str, data: st.DataObject) -> None:
    parts = list(packets(codec)[: 2 * GROUP])
    for i in data.draw(st.sets(st.integers(0, 2 * GROUP - 1), max_size=4)):
        part = bytearray(parts[i])
        for at in data.draw(st.lists(st.integers(0, len(part) - 1), max_size=6)):
            part[at] = data.draw(st.integers(0, 255))
        parts[i] = bytes(part[: data.draw(st.integers(0, len(part)))])
    stream = VideoStream()
    decoded(stream, codec, parts)  # raises nothing but FrameError
    whole = decoded(stream, codec, packets(codec))
    # The damage may have changed the parameters, of which a key frame brings the right ones.
    for image, wanted in zip(whole, libav(codec), strict=True):
        assert isinstance(image, np.ndarray) and np.array_equal(image, wanted)


@pytest.mark.parametrize('damaged', ['', 'h26'])
def test_a_packet_whose_codec_is_damaged_is_missing_to_those_that_follow(damaged: str) -> None:
    stream, parts = VideoStream(), packets('vp9')
    stream.decode('vp9', parts[0])
    with pytest.raises(FrameError, match='is not read'):
        stream.decode(damaged, parts[1])
    found = decoded(stream, 'vp9', parts[2:])
    assert reasons(found) == [WAITING] * (GROUP - 2) + [None] * (COUNT - GROUP)


@pytest.mark.parametrize(
    ('codec', 'unit'), [('h264', b'\0\0\1\1'), ('h265', b'\0\0\1'), ('av1', b'\x12\0')]
)
def test_a_packet_of_nothing_but_units_is_refused_before_they_cost(codec: str, unit: bytes) -> None:
    data = unit * (1 << 20)
    tracemalloc.start()
    try:
        with pytest.raises(FrameError, match=f'more than {MOST_UNITS} units') as caught:
            VideoStream().decode(codec, data)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert caught.value.reason is DropReason.MALFORMED and most < 1 << 20
    few = np.frombuffer(unit * MOST_UNITS, np.uint8)
    assert not head_of(codec, few).key


def test_a_head_is_read_of_no_packet_that_is_too_large() -> None:
    with pytest.raises(FrameError, match='expected 1 to'):
        head_of('h264', np.broadcast_to(np.uint8(0), MOST_BYTES + 1))


@QUIET
@given(codec=st.sampled_from([*ENCODERS, 'nothing']), data=st.binary(max_size=300))
def test_any_bytes(codec: str, data: bytes) -> None:
    with pytest.raises(FrameError):
        VideoStream().decode(codec, data)
    with pytest.raises(FrameError):
        VideoStream().decode(codec, b'\0\0\0\1' + data)


@pytest.mark.parametrize('codec', ['h264', 'h265'])
def test_b_frames_are_refused_and_named(codec: str) -> None:
    options = {'x265-params': 'log-level=0'} if codec == 'h265' else {}
    if codec == 'h264' and 'libx264' not in av.codecs_available:
        pytest.skip('no encoder of B-frames')
    parts = encode(codec, list(pictures(9)), b_frames=2, options=options)
    stream = VideoStream()
    assert reasons(decoded(stream, codec, parts)) == [DropReason.UNSUPPORTED] * 9
    with pytest.raises(FrameError, match=r'B-frames.*bf=0'):
        stream.decode(codec, parts[0])
    # The camera's encoder was set right.
    assert reasons(decoded(stream, codec, packets(codec))) == [None] * COUNT


def test_a_stream_without_key_frames_is_joined_when_its_picture_is_whole() -> None:
    if 'libx264' not in av.codecs_available:
        pytest.skip('no encoder that renews pictures part by part')
    options = {'tune': 'zerolatency', 'intra-refresh': '1'}
    parts = encode('h264', list(pictures(40)), group=10, options=options)
    whole = decoded(VideoStream(), 'h264', parts)
    assert reasons(whole) == [None] * 40
    joined = decoded(VideoStream(), 'h264', parts[5:])
    begin = reasons(joined).index(None)
    assert 5 <= begin <= 25 and reasons(joined) == [WAITING] * begin + [None] * (35 - begin)


@pytest.mark.parametrize('codec', ENCODERS)
def test_size_and_codec_may_change(codec: str) -> None:
    small = encode(codec, list(pictures(6, 96, 64)))
    stream, other = VideoStream(), 'h265' if codec == 'h264' else 'h264'
    assert reasons(decoded(stream, codec, packets(codec)[:7] + small)) == [None] * 13
    assert stream.decode(codec, small[0]).size == (64, 96)
    found = decoded(stream, other, packets(other)[3:])
    assert reasons(found) == [WAITING] * 2 + [None] * (COUNT - GROUP)
    assert stream.codec == other


def test_streams_side_by_side_never_mix() -> None:
    streams = {codec: VideoStream() for codec in ENCODERS}
    for i in range(COUNT):
        for codec, stream in streams.items():
            image = stream.decode(codec, packets(codec)[i]).image
            assert np.array_equal(image, libav(codec)[i])


def test_lengths_in_place_of_start_codes_are_named() -> None:
    unit = b'\x65' + bytes(range(99))
    with pytest.raises(FrameError, match='expected Annex B') as caught:
        VideoStream().decode('h264', len(unit).to_bytes(4, 'big') + unit)
    assert caught.value.reason is DropReason.MALFORMED


@pytest.mark.parametrize(
    ('written', 'codec'),
    [
        ('h264', 'h264'), ('H265', 'h265'), ('hevc', 'h265'), ('libx264', 'h264'),
        ('hevc_nvenc', 'h265'), ('h264_vaapi', 'h264'), ('libvpx-vp9', 'vp9'), ('libsvtav1', 'av1'),
    ],
)  # fmt: skip
def test_names_of_codecs_and_encoders(written: str, codec: str) -> None:
    assert codec_of(written) == codec


@pytest.mark.parametrize('written', ['', 'mjpeg', 'h263', 'libx264;yuv', 'h264' * 1000])
def test_other_codecs_are_refused(written: str) -> None:
    with pytest.raises(FrameError, match='is not read; read are h264, h265, vp9, av1'):
        codec_of(written)


def test_colours_that_are_not_ours_come_as_bgr() -> None:
    import cv2

    image = next(pictures(1))
    frame = av.VideoFrame.from_ndarray(image, 'bgr24')
    frame = frame.reformat(format='yuv420p', dst_colorspace='ITU709')
    frame.colorspace = 1
    from yolox_trt_ros.video.pictures import picture_of

    found = picture_of(frame)
    assert found.encoding == 'bgr8' and found.size == image.shape[:2]
    assert np.abs(cv2.blur(found.image, (3, 3)).astype(int) - cv2.blur(image, (3, 3))).mean() < 4
