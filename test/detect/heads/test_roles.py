"""Which of a level's maps is which, by what a graph shows."""

import pytest

from yolox_trt_ros.detect.graph.end import MapFacts
from yolox_trt_ros.detect.heads.yolox.roles import box_objectness_class


def facts(channels: int, source: str = 'x', name: str = '', squashed: bool | None = None):
    return MapFacts(channels, source, (name,), squashed)


@pytest.mark.parametrize(
    ('maps', 'places'),
    [
        ([facts(4), facts(1), facts(80)], (0, 1, 2)),
        ([facts(80), facts(4), facts(1)], (1, 2, 0)),
        ([facts(4), facts(1), facts(1)], (0, 1, 2)),
        # Four classes: by the branch, by the sigmoid, by the name.
        ([facts(4, 'cls'), facts(4, 'reg'), facts(1, 'reg')], (1, 2, 0)),
        ([facts(4, squashed=True), facts(4, squashed=False), facts(1)], (1, 2, 0)),
        ([facts(4, name='head.cls_preds.0.weight'), facts(4), facts(1)], (1, 2, 0)),
        ([facts(4), facts(1), facts(4, name='multi_level_conv_reg.0')], (2, 1, 0)),
        # Nothing shows, or two signs contradict each other.
        ([facts(4), facts(4), facts(1)], None),
        ([facts(4, 'cls', 'reg'), facts(4, 'reg'), facts(1, 'reg')], None),
        ([facts(4), facts(4), facts(4)], None),
        ([facts(4), facts(1)], None),
        ([facts(85)], None),
        ([facts(3), facts(5), facts(1)], None),
    ],
)
def test_places(maps: list[MapFacts], places: tuple[int, int, int] | None) -> None:
    assert box_objectness_class(maps) == places
