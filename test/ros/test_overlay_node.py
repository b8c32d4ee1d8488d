"""Overlays of a real detector's results: drawn while somebody looks, and only then."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest
from peer import Peer, image_message, rows
from rig import Rig, noise, open_rig
from sensor_msgs.msg import CompressedImage, Image

from yolox_trt_ros.ros.overlay_node import OverlayNode

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


def look(rig: Rig, topic: str, kind: type = Image) -> tuple[Any, list[Any]]:
    """Subscribe to an overlay and wait until the node has subscribed to images for it."""
    messages: list[Any] = []
    before = rig.front.get_subscription_count()
    subscription = rig.peer.node.create_subscription(
        kind, f'{rig.node.name}/{topic}', messages.append, 10
    )
    rig.peer.until(lambda: rig.front.get_subscription_count() > before, 'the overlay looks too')
    rig.peer.spin(0.5)  # the detector finds the overlay's subscriptions
    return subscription, messages


def look_away(rig: Rig, subscription: Any) -> None:
    before = rig.front.get_subscription_count()
    rig.peer.node.destroy_subscription(subscription)
    rig.peer.until(lambda: rig.front.get_subscription_count() < before, 'it looks away')


def test_boxes_are_drawn_on_their_own_image(rig: Rig) -> None:
    assert listeners(rig) == 1  # the detector's: nobody looks at an overlay
    subscription, overlays = look(rig, 'front/overlay')
    for seed in range(4):
        message = image_message(noise(seed, 240, 320), rig.next_stamp())
        found = rows(rig.answer(message))
        assert found
        shown = rig.peer.until(
            lambda m=message: next((o for o in overlays if o.header == m.header), None), 'overlay'
        )
        picture, source = pixels(shown), noise(seed, 240, 320)
        changed = (picture != source).any(axis=2)
        x1, _, x2, y2 = (round(v) for v in found[0][:4])
        bottom = changed[min(y2, 239), max(0, x1) : min(x2, 319)]
        assert bottom.mean() > 0.9  # the best box's lower edge
        assert changed[:8, :40].all()  # the caption with lane and latency
        assert not changed.all()
    look_away(rig, subscription)
    assert listeners(rig) == 1


def test_the_compressed_twin_shows_the_same(rig: Rig) -> None:
    subscription, overlays = look(rig, 'front/overlay/compressed', CompressedImage)
    message = image_message(np.full((240, 320, 3), 128, np.uint8), rig.next_stamp())
    rig.answer(message)
    shown = rig.peer.until(lambda: overlays and overlays[-1], 'compressed overlay')
    assert (shown.header, shown.format) == (message.header, 'jpeg')
    picture = cv2.imdecode(np.frombuffer(shown.data, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (240, 320, 3)
    look_away(rig, subscription)


def test_a_silent_camera_is_marked_stale(rig: Rig) -> None:
    subscription, overlays = look(rig, 'front/overlay')
    message = image_message(np.full((240, 320, 3), 200, np.uint8), rig.next_stamp())
    rig.answer(message)
    fresh = rig.peer.until(lambda: overlays and overlays[-1], 'overlay')
    overlays.clear()
    stale = rig.peer.until(lambda: overlays and overlays[-1], 'stale overlay')  # timeout_ms: 500
    assert stale.header == fresh.header
    assert pixels(stale).mean() < 0.75 * pixels(fresh).mean()
    look_away(rig, subscription)


def test_the_mosaic_holds_every_camera_and_their_states(rig: Rig) -> None:
    subscription, mosaics = look(rig, 'overlay')
    message = image_message(np.full((240, 320, 3), 255, np.uint8), rig.next_stamp())
    rig.answer(message)
    # Two cameras without a rig side by side; the white one is the first.
    found: list[np.ndarray] = rig.peer.until(
        lambda: [p for p in map(pixels, mosaics) if (p == 255).mean() > 0.2], 'mosaic'
    )
    white = found[0]
    assert white.shape == (640, 1920, 3)
    assert (white[:, 960:] == 255).mean() < 0.05
    look_away(rig, subscription)
