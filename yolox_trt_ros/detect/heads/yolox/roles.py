"""Which of a level's three maps holds boxes, which objectness, which classes."""

from __future__ import annotations

import re
from collections.abc import Sequence

from yolox_trt_ros.detect.graph.end import MapFacts

_BOX = {'reg', 'box', 'boxes', 'bbox', 'loc', 'xywh', 'regression'}
_CLASS = {'cls', 'class', 'classes', 'classification', 'scores'}


def box_objectness_class(maps: Sequence[MapFacts]) -> tuple[int, int, int] | None:
    """Return the places of the three maps, or None where they are no such maps or it is unknown.

    Channel counts tell, except with four classes. Then the box map is the one that has no sigmoid
    while the other has one, reads what objectness reads (YOLOX's regression branch feeds both), and
    is called so. What contradicts itself says nothing. With one class, objectness and class may be
    confused: only their product counts.
    """
    channels = [m.channels for m in maps]
    if len(maps) != 3 or 4 not in channels or 1 not in channels:
        return None
    boxes = [i for i in range(3) if channels[i] == 4]
    box = boxes[0] if len(boxes) == 1 else _box(maps, boxes)
    if box is None:
        return None
    objectness = next((i for i in range(3) if channels[i] == 1 and i != box), None)
    return None if objectness is None else (box, objectness, 3 - box - objectness)


def _box(maps: Sequence[MapFacts], boxes: Sequence[int]) -> int | None:
    a, b = (maps[i] for i in boxes)
    (objectness,) = (m for i, m in enumerate(maps) if i not in boxes)
    signs = (
        (a.squashed is False and b.squashed is True, b.squashed is False and a.squashed is True),
        (a.source == objectness.source, b.source == objectness.source),
        (_called(a, _BOX), _called(b, _BOX)),
        (_called(b, _CLASS), _called(a, _CLASS)),
    )
    votes = {boxes[0] if first else boxes[1] for first, second in signs if first != second}
    return votes.pop() if len(votes) == 1 else None


def _called(m: MapFacts, words: set[str]) -> bool:
    return any(words & set(re.split(r'[^a-z]+', name.lower())) for name in m.names)
