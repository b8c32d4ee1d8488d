"""The way images come in through rclpy alone, where the C++ part is not built."""

from collections.abc import Iterator

import pytest
from matching import differences
from peer import Peer, image_message, rows
from rig import BAD, Rig, check_bad_messages, noise, open_rig

pytestmark = [pytest.mark.ros, pytest.mark.timeout(120)]


@pytest.fixture(scope='module')
def rig(peer: Peer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with open_rig(peer, tmp_path_factory.mktemp('plain'), 'plain', ingest='plain') as opened:
        yield opened


def test_images_are_answered(rig: Rig) -> None:
    for seed in range(3):
        message = image_message(noise(seed, 80 + seed, 120), rig.next_stamp())
        assert not differences(rows(rig.answer(message)), rig.expected(message), 0.999, 1e-4)


def test_bad_messages_are_counted_and_told_and_the_node_lives(rig: Rig) -> None:
    # A representation that no ROS 2 writes; only rclpy hands such bytes on.
    not_cdr = (b'hello, world', 'malformed', 'expected a plain CDR message')
    check_bad_messages(rig, [not_cdr, *BAD.values()])
