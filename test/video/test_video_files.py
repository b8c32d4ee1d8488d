"""Video files as sources: every picture, in order, with its time; damage is reported."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from tiny_models import write_yolox
from videos import av, write_video

from yolox_trt_ros.__main__ import main
from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.errors import ConfigError, DropReason, FrameError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.sim.sources import VideoSource, open_source
from yolox_trt_ros.video.files import VideoFile


def libav(path: Path) -> list[np.ndarray]:
    """Return the planes of every picture by libav's own order and decoder."""
    with av.open(str(path)) as container:
        return [picture.to_ndarray() for picture in container.decode(video=0)]


@pytest.mark.parametrize('suffix', ['avi', 'mkv', 'mp4'])
def test_pictures_and_times_are_libavs(tmp_path: Path, suffix: str) -> None:
    path = write_video(tmp_path / f'drive.{suffix}')
    video = VideoFile(path)
    frames = list(video.frames())
    assert (video.codec, video.rate_hz, video.count) == ('mpeg4', 10.0, 12)
    assert [frame.stamp_ns for frame in frames] == [i * 100_000_000 for i in range(12)]
    assert {(frame.encoding, frame.height, frame.width) for frame in frames} == {('i420', 96, 128)}
    for frame, planes in zip(frames, libav(path), strict=True):
        assert np.array_equal(frame.data, planes.reshape(-1))
    assert len(list(video.frames())) == 12, 'it begins anew'


def test_b_frames_come_in_the_order_in_which_they_are_shown(tmp_path: Path) -> None:
    path = write_video(tmp_path / 'drive.mp4', max_b_frames=2)
    frames = list(VideoFile(path).frames())
    with av.open(str(path)) as container:
        order = [packet.pts for packet in container.demux(video=0) if packet.pts is not None]
    assert order != sorted(order), 'no B-frames'
    stamps = [frame.stamp_ns for frame in frames]
    assert stamps == sorted(stamps) and len(stamps) == 12
    for frame, planes in zip(frames, libav(path), strict=True):
        assert np.array_equal(frame.data, planes.reshape(-1))


def test_what_depends_on_a_damaged_picture_is_left_out_until_a_key_frame(tmp_path: Path) -> None:
    path = write_video(tmp_path / 'drive.avi')
    with av.open(str(path)) as container:
        packet = [p for p in container.demux(video=0) if p.size][6]
        at, size = packet.pos, packet.size
    content = bytearray(path.read_bytes())
    start = content.index(bytes(packet)[:16], at)
    content[start : start + size] = b'\xff' * size
    path.write_bytes(content)
    items = list(VideoFile(path).frames())
    reasons = [item.reason if isinstance(item, FrameError) else '' for item in items]
    waiting = DropReason.WAITING_FOR_KEY_FRAME
    assert reasons == [''] * 6 + [DropReason.UNDECODABLE] + [waiting] * 3 + [''] * 2


def test_a_file_that_is_cut_gives_what_is_whole(tmp_path: Path) -> None:
    path = write_video(tmp_path / 'drive.mkv', 40)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    good = [item for item in VideoFile(path).frames() if isinstance(item, Frame)]
    assert 5 <= len(good) < 40


def test_no_video(tmp_path: Path) -> None:
    text = tmp_path / 'notes.mp4'
    text.write_text('no video')
    with pytest.raises(ConfigError, match=r'notes\.mp4: not a video that FFmpeg can read: Invalid'):
        VideoFile(text)
    with pytest.raises(ConfigError, match='cannot be read: No such file'):
        VideoFile(tmp_path / 'none.mp4')


def test_a_playlist_opens_no_other_file(tmp_path: Path) -> None:
    write_video(tmp_path / 'drive.mkv')
    playlist = tmp_path / 'list.mp4'
    playlist.write_text('#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\ndrive.mkv\n#EXT-X-ENDLIST\n')
    with pytest.raises(ConfigError, match='not a video'):
        VideoFile(playlist)


def test_detect_takes_images_and_videos(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import cv2

    write_yolox(tmp_path / 'm.onnx')
    folder = tmp_path / 'drives'
    folder.mkdir()
    name = os.fsdecode(b'b\xff.mp4')  # OpenCV would end the process at this name
    write_video(folder / 'video.mp4', 3).rename(folder / name)
    cv2.imwrite(str(folder / 'a.png'), np.zeros((90, 120, 3), np.uint8))
    arguments = ['detect', '--model', f'{tmp_path}/m.onnx', '--images', str(folder)]
    arguments += ['--draw', f'{tmp_path}/drawn', '--json', f'{tmp_path}/out.json']
    assert main(arguments) == 0
    images = json.loads((tmp_path / 'out.json').read_text())['images']
    assert [key.rpartition('/')[2] for key in images] == ['a.png', '000000', '000001', '000002']
    assert [image.get('stamp_ns') for image in images.values()] == [None, 0, 10**8, 2 * 10**8]
    assert cv2.imread(str(tmp_path / 'drawn' / 'a.png')).shape == (90, 120, 3)
    assert len(list((tmp_path / 'drawn' / name).iterdir())) == 3


def test_cameras_that_share_a_folder_of_videos_play_one_each(tmp_path: Path) -> None:
    for name in ('left.mp4', 'right.mp4'):
        write_video(tmp_path / name, 3)
    flat = {'camera_names': ['a', 'b', 'c'], 'lane_names': ['cpu'], 'sim.source': str(tmp_path)}
    cameras = Config.from_parameters(flat)
    sources = [open_source(cameras, camera) for camera in cameras.cameras]
    assert all(isinstance(source, VideoSource) for source in sources)
    files = [source.key(0)[0].name for source in sources]
    assert files == ['left.mp4', 'right.mp4', 'left.mp4']
    assert [source.picture(0).shape for source in sources] == [(96, 128, 3)] * 3
