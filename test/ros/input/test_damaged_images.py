"""Damaged images give their buffers back at once, in every input mode."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import edge_rig
import pytest
from damaged import DAMAGES, JPEG, no_collector
from edge_rig import BUFFERS, Keeper, Rig, open_rig
from sensor_msgs.msg import CompressedImage
from tiny_models import write_yolox

from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.model import Thresholds
from yolox_trt_ros.detect.backends.onnxruntime import cpu_detector
from yolox_trt_ros.detect.model import load_model_spec

pytestmark = [pytest.mark.ros, pytest.mark.timeout(400)]


class Decoder(Keeper):
    """A cpu lane that keeps its results, and no frames."""

    def __init__(self, model: Path) -> None:
        super().__init__()
        self.results: list[Any] = []
        self._cpu = cpu_detector(model, load_model_spec(model), Thresholds)

    def submit(self, frames: Sequence[Frame]) -> Any:
        ticket = self._cpu.submit(frames)
        self.results += ticket.wait()
        return ticket


@pytest.fixture(params=['direct', 'serialised', 'plain'])
def rig(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Rig]:
    model = write_yolox(tmp_path / 'tiny.onnx')
    monkeypatch.setattr(edge_rig, 'Keeper', lambda: Decoder(model))
    with open_rig(request.param) as opened:
        yield opened


def test_damaged_images_do_not_silence_a_camera(rig: Rig) -> None:
    cut, whole = (CompressedImage(format='jpeg', data=d) for d in (DAMAGES['cut jpeg'][1], JPEG))
    with no_collector():
        for number in range(4 * BUFFERS):
            rig.packed.publish(cut)
            rig.until(lambda n=number: sum(rig.account('b').dropped.values()) == n + 1)
        rig.packed.publish(whole)
        rig.until(lambda: rig.account('b').published == 1)
