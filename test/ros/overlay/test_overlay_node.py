"""Overlays of a real detector's results: drawn while somebody looks, and only then."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
import pytest
from hostile_messages import HOSTILE, array
from peer import Peer, image_message, rows
from rclpy.serialization import serialize_message
from rig import Rig, noise, open_rig
from sensor_msgs.msg import CompressedImage, Image
from vision_msgs.msg import Detection2DArray

from yolox_trt_ros.msg import CameraStatus, PipelineStatus
from yolox_trt_ros.ros.overlay_node import OverlayNode
from yolox_trt_ros.ros.results import MOST_BYTES, ResultSubscriptions

pytestmark = pytest.mark.ros
NAMESPACE = 'overlaid'


@pytest.fixture(scope='module')
def rig(peer: Peer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp('overlay')
    with open_rig(peer, folder, NAMESPACE) as opened:
        node = OverlayNode(
            context=peer.context,
            namespace=NAMESPACE,
            cli_args=['--ros-args', '--params-file', str(folder / f'{NAMESPACE}.param.yaml')],
        )
        peer._executor.add_node(node)
        yield opened
        peer._executor.remove_node(node)
        node.close()
        node.destroy_node()


def pixels(message: Image) -> np.ndarray:
    return np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)


def listeners(rig: Rig, topic: str = '/front/image_raw') -> int:
    return int(rig.peer.node.count_subscribers(topic))


@contextmanager
def looking(rig: Rig, topic: str, kind: type = Image) -> Iterator[list[Any]]:
    """Subscribe to an overlay; the node has subscribed to images for it, and lets go afterwards."""
    messages: list[Any] = []
    before = rig.front.get_subscription_count()
    subscription = rig.peer.node.create_subscription(
        kind, f'{rig.node.name}/{topic}', messages.append, 10
    )
    try:
        rig.peer.until(lambda: rig.front.get_subscription_count() > before, 'the overlay looks too')
        rig.peer.spin(0.5)  # the detector finds the overlay's subscriptions
        yield messages
    finally:
        rig.peer.node.destroy_subscription(subscription)
        rig.peer.until(lambda: rig.front.get_subscription_count() == before, 'it looks away')


def shown(rig: Rig, overlays: list[Any], message: Any, after: int = 0) -> Any:
    """Wait for an overlay with a message's header, behind the first ``after`` ones."""
    return rig.peer.until(
        lambda: next((o for o in overlays[after:] if o.header == message.header), None), 'overlay'
    )


def test_boxes_are_drawn_on_their_own_image(rig: Rig) -> None:
    assert listeners(rig) == 1  # the detector's: nobody looks at an overlay
    with looking(rig, 'front/overlay') as overlays:
        for seed in range(4):
            message = image_message(noise(seed, 240, 320), rig.next_stamp())
            found = rows(rig.answer(message))
            assert found
            picture = pixels(shown(rig, overlays, message))
            changed = (picture != noise(seed, 240, 320)).any(axis=2)
            x1, _, x2, y2 = (round(v) for v in found[0][:4])
            bottom = changed[min(y2, 239), max(0, x1) : min(x2, 319)]
            assert bottom.mean() > 0.9  # the best box's lower edge
            assert changed[:8, :40].all()  # the caption with lane and latency
            assert not changed.all()
    assert listeners(rig) == 1


def test_the_compressed_twin_shows_the_same(rig: Rig) -> None:
    with looking(rig, 'front/overlay/compressed', CompressedImage) as overlays:
        message = image_message(np.full((240, 320, 3), 128, np.uint8), rig.next_stamp())
        rig.answer(message)
        twin = shown(rig, overlays, message)
    assert twin.format == 'jpeg'
    picture = cv2.imdecode(np.frombuffer(twin.data, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (240, 320, 3)


def test_a_silent_camera_is_marked_stale(rig: Rig) -> None:
    with looking(rig, 'front/overlay') as overlays:
        message = image_message(np.full((240, 320, 3), 200, np.uint8), rig.next_stamp())
        rig.answer(message)
        fresh = pixels(shown(rig, overlays, message))
        # timeout_ms is 500: the same picture comes again, dark.
        stale = pixels(shown(rig, overlays, message, after=len(overlays)))
    assert stale.mean() < 0.75 * fresh.mean()


def test_the_mosaic_holds_every_camera_and_their_states(rig: Rig) -> None:
    with looking(rig, 'overlay') as mosaics:
        message = image_message(np.full((240, 320, 3), 255, np.uint8), rig.next_stamp())
        rig.answer(message)
        # Two cameras without a rig side by side; the white one is the first.
        found: list[np.ndarray] = rig.peer.until(
            lambda: [p for p in map(pixels, mosaics) if (p == 255).mean() > 0.2], 'mosaic'
        )
    assert found[0].shape == (640, 1920, 3)
    assert (found[0][:, 960:] == 255).mean() < 0.05


def test_hostile_results_cost_only_themselves(rig: Rig) -> None:
    """Beside the detector's, somebody publishes results on its topics that end in no picture."""
    hostile = rig.peer.node.create_publisher(
        Detection2DArray, f'{rig.node.name}/front/detections', 10
    )
    states = rig.peer.node.create_publisher(PipelineStatus, f'{rig.node.name}/status', 1)
    try:
        with looking(rig, 'front/overlay') as overlays:
            for message in HOSTILE.values():
                hostile.publish(message)
            camera = CameraStatus(
                name='front', level=255, stages=['total'], rate_in_hz=float('inf')
            )
            states.publish(PipelineStatus(cameras=[camera]))
            message = image_message(noise(9, 240, 320), rig.next_stamp())
            rig.answer(message)
            assert shown(rig, overlays, message)
    finally:
        rig.peer.node.destroy_publisher(hostile)
        rig.peer.node.destroy_publisher(states)


def test_a_result_that_is_too_large_or_cut_is_reported_and_not_read(peer: Peer) -> None:
    good: list[Any] = []
    refusals: list[tuple[str, str]] = []
    large = Detection2DArray(detections=array().detections * (MOST_BYTES // 400))
    results = ResultSubscriptions(
        peer.node, '/bounded', lambda *reported: refusals.append(reported)
    )
    results.add('detections', good.append, 'front')
    publisher = peer.node.create_publisher(Detection2DArray, '/bounded/front/detections', 10)
    try:
        peer.until(publisher.get_subscription_count, 'the subscription')
        publisher.publish(large)
        publisher.publish(serialize_message(array())[:60])
        publisher.publish(array())
        peer.until(lambda: good, 'the good one')
    finally:
        peer.node.destroy_publisher(publisher)
        results.close()
    assert len(good) == 1
    assert [of for of, _ in refusals] == ['front', 'front']
    assert f'expected at most {MOST_BYTES}' in refusals[0][1]
    assert 'Detection2DArray cannot be read' in refusals[1][1]
