"""A bag through real topics: bytes, names, times, QoS; and in step with a real detector."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from peer import DOMAIN, LATCHED, PATIENCE_S, Peer, image_message
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from rig import BAD, SECOND, Rig, noise, open_rig
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import String

from yolox_trt_ros.bags.reader import Bag
from yolox_trt_ros.bags.writer import BagWriter
from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.errors import BagError, MissingDependencyError
from yolox_trt_ros.core.messages import stamp_ns_of
from yolox_trt_ros.ros.dds.settings import environment
from yolox_trt_ros.ros.replay.options import ReplayOptions
from yolox_trt_ros.ros.replay.player import Replay

pytestmark = pytest.mark.ros
T0 = 1_700_000_000 * SECOND
STRING, IMAGE = 'std_msgs/msg/String', 'sensor_msgs/msg/Image'
PACKED = 'sensor_msgs/msg/CompressedImage'
FOREVER = QosTime(2**31 - 1, 2**32 - 1)
BEST_EFFORT = Qos(
    QosHistory.KEEP_LAST, 5, QosReliability.BEST_EFFORT, QosDurability.VOLATILE,
    FOREVER, FOREVER, QosLiveliness.AUTOMATIC, FOREVER, False,
)  # fmt: skip


@pytest.fixture(scope='module')
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bag of two topics with ten messages each, one every 20 ms."""
    path = tmp_path_factory.mktemp('words') / 'bag'
    with BagWriter(path) as bag:
        bag.add_topic('/said', STRING)
        bag.add_topic('/whispered', STRING, [BEST_EFFORT])
        bag.add_topic('/rockets', STRING)
        for n in range(20):
            topic = ('/said', '/whispered')[n % 2]
            bag.write(topic, T0 + n * SECOND // 100, serialize_message(String(data=f'word {n}')))
    return path


def play(peer: Peer, path: Path, expected: Callable[[], Any], **options: Any) -> Replay:
    """Play a bag on the peer's node, which spins meanwhile, until ``expected`` is true."""
    with Bag(path) as bag:
        replay = Replay(peer.node, bag, ReplayOptions(**options))
        thread = threading.Thread(target=lambda: [None for _ in replay.play()])
        thread.start()
        try:
            peer.until(expected, 'messages')
        finally:
            thread.join(PATIENCE_S)
            for publisher in replay._publishers.values():
                peer.node.destroy_publisher(publisher._publisher)
    return replay


def listen(peer: Peer, kind: type, topic: str, reliable: bool = True) -> list[Any]:
    messages: list[Any] = []
    policy = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
    qos = QoSProfile(depth=100, reliability=policy)
    peer.node.create_subscription(kind, topic, messages.append, qos)
    return messages


def ns(clock: Clock) -> int:
    return clock.clock.sec * SECOND + clock.clock.nanosec


def test_messages_arrive_as_recorded_in_order_and_in_time(peer: Peer, words: Path) -> None:
    said = listen(peer, String, '/said')
    whispered = listen(peer, String, '/whispered', reliable=False)
    replay = play(peer, words, lambda: len(said) + len(whispered) == 20)
    assert [m.data for m in said] == [f'word {n}' for n in range(0, 20, 2)]
    assert [m.data for m in whispered] == [f'word {n}' for n in range(1, 20, 2)]
    assert replay.sent.messages == {'/said': 10, '/whispered': 10}
    assert replay.sent.elapsed_s >= 0.19  # the recording's own span


def test_part_of_a_bag_under_other_names_faster_and_with_a_clock(peer: Peer, words: Path) -> None:
    heard = listen(peer, String, '/heard')
    clock = listen(peer, Clock, '/clock')
    replay = play(
        peer,
        words,
        lambda: len(heard) == 5 and clock and ns(clock[-1]) == T0 + 14 * SECOND // 100,
        topics=('/said',),
        remap={'/said': '/heard'},
        start_s=0.05,
        duration_s=0.1,
        rate=2.0,
        clock=True,
    )
    assert [m.data for m in heard] == [f'word {n}' for n in range(6, 15, 2)]
    assert replay.sent.elapsed_s >= 0.04
    times = [ns(t) for t in clock]
    assert times == sorted(times) and times[0] >= T0


def test_reliability_can_be_overridden(peer: Peer, words: Path) -> None:
    whispered = listen(peer, String, '/whispered')  # reliable: best effort would not do
    replay = play(peer, words, lambda: len(whispered) == 10, reliability='reliable')
    assert replay.sent.messages['/whispered'] == 10


def test_latched_messages_wait_for_their_listener_others_are_reported(
    peer: Peer, tmp_path: Path
) -> None:
    latched = BEST_EFFORT._replace(
        reliability=QosReliability.RELIABLE, durability=QosDurability.TRANSIENT_LOCAL
    )
    with BagWriter(tmp_path / 'bag') as bag:
        for topic, qos in (('/map', [latched]), ('/nobody', [])):
            bag.add_topic(topic, STRING, qos)
            bag.write(topic, T0, serialize_message(String(data=topic)))
    with Bag(tmp_path / 'bag') as opened:
        replay = Replay(peer.node, opened, ReplayOptions())
        assert len(list(replay.play())) == 2
    assert replay.sent.unheard == {'/map': 1, '/nobody': 1}
    maps: list[String] = []
    peer.node.create_subscription(String, '/map', maps.append, LATCHED)
    peer.until(lambda: maps, 'the map')
    assert maps[0].data == '/map'


def test_what_cannot_be_played_is_reported(peer: Peer, tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'bag') as bag:
        bag.add_topic('/said', STRING)
        bag._connections['/rocket'] = bag._writer.add_connection(
            '/rocket', 'acme_msgs/msg/Rocket', msgdef='uint8 stage\n', rihs01='RIHS01_' + '0' * 64
        )
        bag.write('/said', T0, serialize_message(String(data='x')))
        bag.write('/rocket', T0, b'\0\1\0\0\1')
    messages: list[str] = []
    with Bag(tmp_path / 'bag') as opened:
        Replay(peer.node, opened, ReplayOptions(), warn=messages.append)
        assert len(messages) == 1
        assert messages[0].startswith('/rocket is left out: acme_msgs/msg/Rocket is not installed')
        with pytest.raises(MissingDependencyError, match='acme_msgs/msg/Rocket is not installed'):
            Replay(peer.node, opened, ReplayOptions(topics=('/rocket',)))
        with pytest.raises(BagError, match=r'no topic /sad — did you mean "/said"\?; it has'):
            Replay(peer.node, opened, ReplayOptions(topics=('/sad',)))


def test_a_type_that_was_defined_otherwise_is_reported(peer: Peer, tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'bag') as bag:
        bag._connections['/said'] = bag._writer.add_connection(
            '/said', STRING, msgdef='string text\n', rihs01='RIHS01_' + '0' * 64
        )
        bag.write('/said', T0, serialize_message(String(data='x')))
    messages: list[str] = []
    with Bag(tmp_path / 'bag') as opened:
        Replay(peer.node, opened, ReplayOptions(), warn=messages.append)
    assert [sentence.partition(' than')[0] for sentence in messages] == [
        f'{STRING} was recorded with another definition'
    ]


# -- with a detector -----------------------------------------------------------------------------


@pytest.fixture(scope='module')
def rig(peer: Peer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp('replayed')
    with open_rig(peer, folder, 'replayed', lockstep=True) as opened:
        yield opened


def config_of(transport_of_front: str = 'raw') -> Config:
    return Config.from_parameters(
        {
            'camera_names': ['front', 'packed'],
            'lane_names': ['cpu0'],
            'cameras.front.transport': transport_of_front,
            'cameras.packed.transport': 'compressed',
        }
    )


def drive(path: Path, frames: int) -> Path:
    """Record two cameras; one image is damaged."""
    damaged: CompressedImage = BAD['truncated JPEG'][0]
    with BagWriter(path, storage='sqlite3', compression='message') as bag:
        bag.add_topic('/front/image_raw', IMAGE)
        bag.add_topic('/packed/image_raw/compressed', PACKED)
        for n in range(frames):
            # All at once: without lockstep, most would replace each other.
            bag.write(
                '/front/image_raw', T0 + n, serialize_message(image_message(noise(n), T0 + n))
            )
        bag.write('/packed/image_raw/compressed', T0 + frames, serialize_message(damaged))
    return path


def test_in_lockstep_every_image_is_answered_or_accounted_for(
    peer: Peer, rig: Rig, tmp_path: Path
) -> None:
    rig.found.clear()
    with Bag(drive(tmp_path / 'bag', 25)) as bag:
        options = ReplayOptions(lockstep=True, detector=rig.node.name, clock=True)
        replay = Replay(peer.node, bag, options, config_of())
        thread = threading.Thread(target=lambda: [None for _ in replay.play()])
        thread.start()
        peer.until(lambda: not thread.is_alive(), 'end of the replay')
    assert replay.lockstep
    front, packed = (replay.lockstep.outcomes[name] for name in ('front', 'packed'))
    assert (front.sent, front.answered) == (25, 25)
    assert (packed.sent, packed.answered, packed.dropped) == (1, 0, {'undecodable': 1})
    assert [stamp_ns_of(m) - T0 for m in rig.found] == list(range(25))


def test_cameras_that_do_not_fit_the_vehicle_are_reported(peer: Peer, tmp_path: Path) -> None:
    with Bag(drive(tmp_path / 'bag', 1)) as bag:
        with pytest.raises(BagError, match=r'camera front with transport compressed needs .*Comp'):
            options = ReplayOptions(remap={'/front/image_raw': '/front/image_raw/compressed'})
            Replay(peer.node, bag, options, config_of('compressed'))
        with pytest.raises(BagError, match=r'no images of camera front.*--remap RECORDED:='):
            options = ReplayOptions(remap={'/front/image_raw': '/elsewhere'})
            Replay(peer.node, bag, options, config_of())
        whole = {'/packed/image_raw/compressed': '/packed/image_raw/compressed/more'}
        with pytest.raises(BagError, match=r'camera packed, .* — did you mean "/packed/image_raw'):
            Replay(peer.node, bag, ReplayOptions(remap=whole), config_of())


def run_tool(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, '-m', 'yolox_trt_ros', 'replay', *words],
        env={**os.environ, **environment(), 'ROS_DOMAIN_ID': str(DOMAIN)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_the_tool_loops_until_ctrl_c(peer: Peer, words: Path) -> None:
    said = listen(peer, String, '/said')
    tool = run_tool(str(words), '--loop', '--rate', '5')
    try:
        peer.until(lambda: len(said) > 15, 'a second round')
        tool.send_signal(signal.SIGINT)
        end = time.monotonic() + PATIENCE_S
        while tool.poll() is None and time.monotonic() < end:
            peer.spin(0.1)
    finally:
        tool.kill()
        message, _ = tool.communicate()
    assert tool.returncode == 0, message
    assert (
        'interrupted' in message
        and 'messages of 2 topics' in message
        and 'Traceback' not in message
    )


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['nowhere'], 'there is no such bag'),
        (['nowhere', '--lockstep'], '--lockstep: needs --vehicle'),
        (['nowhere', '--remap', '/a'], '--remap: expected RECORDED:=NEW, got "/a"'),
    ],
)
def test_wrong_command_lines_are_reported(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from yolox_trt_ros.__main__ import main

    assert main(['replay', *words]) == 1
    assert message in capsys.readouterr().err


def test_a_rate_that_is_none_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    from yolox_trt_ros.__main__ import main

    with pytest.raises(SystemExit):
        main(['replay', 'nowhere', '--rate', '0'])
    assert '--rate: expected a number' in capsys.readouterr().err
