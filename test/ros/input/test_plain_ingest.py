"""Plain input mode on a simulated clock, and the node's last state."""

from collections.abc import Iterator

import pytest
from lifecycle_msgs.msg import Transition
from matching import differences
from peer import Peer, image_message, rows, time_of
from rig import BAD, SECOND, Rig, check_bad_messages, noise, open_rig
from rosgraph_msgs.msg import Clock

pytestmark = [pytest.mark.ros, pytest.mark.timeout(400)]


@pytest.fixture(scope='module')
def rig(peer: Peer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp('plain')
    with open_rig(peer, folder, 'plain', ingest='plain', use_sim_time=True) as opened:
        yield opened


def test_images_are_answered(rig: Rig) -> None:
    for seed in range(3):
        message = image_message(noise(seed, 80 + seed, 120), rig.next_stamp())
        assert not differences(rows(rig.answer(message)), rig.expected(message), 0.999, 1e-4)


def test_bad_messages_are_counted_and_reported_and_the_node_lives(rig: Rig) -> None:
    # A representation that no ROS 2 writes; only rclpy hands such bytes on.
    not_cdr = (b'hello, world', 'malformed', 'expected a plain CDR message')
    check_bad_messages(rig, [not_cdr, *BAD.values()])


def test_age_is_reported_in_the_clock_of_the_stamps(rig: Rig) -> None:
    clock = rig.peer.camera(Clock, '/clock')
    clock.publish(Clock(clock=time_of(1000 * SECOND)))
    rig.peer.until(
        lambda: rig.status and rig.status[-1].header.stamp == time_of(1000 * SECOND), 'the clock'
    )
    rig.latency.clear()
    rig.answer(image_message(noise(0), 995 * SECOND))
    (latency,) = rig.peer.until(lambda: rig.latency, 'latency')
    assert latency.age_ns == 5 * SECOND
    assert 0 < latency.total_ns < 5 * SECOND, 'durations are real ones'
    status = rig.camera_status()
    assert (status.last_stamp, status.age_ns) == (time_of(995 * SECOND), 5 * SECOND)


def test_shutdown(rig: Rig) -> None:
    assert rig.peer.transition(rig.node.name, Transition.TRANSITION_ACTIVE_SHUTDOWN)
    assert rig.peer.state(rig.node.name) == 'finalized'
    rig.peer.until(lambda: not rig.front.get_subscription_count(), 'end of the subscription')
