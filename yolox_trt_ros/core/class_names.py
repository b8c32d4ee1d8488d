"""Class names as data sets spell them, made comparable."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.printing import shown

COCO = (
    'person', 'bicycle', 'car', 'motorcycle', 'airplane', 'bus', 'train', 'truck', 'boat',
    'traffic light', 'fire hydrant', 'stop sign', 'parking meter', 'bench', 'bird', 'cat', 'dog',
    'horse', 'sheep', 'cow', 'elephant', 'bear', 'zebra', 'giraffe', 'backpack', 'umbrella',
    'handbag', 'tie', 'suitcase', 'frisbee', 'skis', 'snowboard', 'sports ball', 'kite',
    'baseball bat', 'baseball glove', 'skateboard', 'surfboard', 'tennis racket', 'bottle',
    'wine glass', 'cup', 'fork', 'knife', 'spoon', 'bowl', 'banana', 'apple', 'sandwich', 'orange',
    'broccoli', 'carrot', 'hot dog', 'pizza', 'donut', 'cake', 'chair', 'couch', 'potted plant',
    'bed', 'dining table', 'toilet', 'tv', 'laptop', 'mouse', 'remote', 'keyboard', 'cell phone',
    'microwave', 'oven', 'toaster', 'sink', 'refrigerator', 'book', 'clock', 'vase', 'scissors',
    'teddy bear', 'hair drier', 'toothbrush',
)  # fmt: skip
"""The classes of COCO's detection task, in the order in which models number them."""

AUTOWARE = (
    'UNKNOWN', 'CAR', 'TRUCK', 'BUS', 'TRAILER', 'MOTORCYCLE', 'BICYCLE', 'PEDESTRIAN', 'ANIMAL',
    'HAZARD', 'OVER_DRIVABLE', 'UNDER_DRIVABLE',
)  # fmt: skip
"""Autoware's classes by number: ``autoware_perception_msgs/msg/ObjectClassification``."""

_COCO_NAMES = {
    'aeroplane': 'airplane',
    'diningtable': 'dining table',
    'motorbike': 'motorcycle',
    'pottedplant': 'potted plant',
    'sofa': 'couch',
    'tvmonitor': 'tv',
    'hairdrier': 'hair drier',
    'hair dryer': 'hair drier',
    'hairdryer': 'hair drier',
    'cellphone': 'cell phone',
    'mobile phone': 'cell phone',
    'trafficlight': 'traffic light',
    'firehydrant': 'fire hydrant',
    'stopsign': 'stop sign',
    'parkingmeter': 'parking meter',
    'bike': 'bicycle',
    'motor': 'motorcycle',
}
"""Darknet's, VOC's and BDD100K's spelling, and common ones without the space → COCO's."""


def canonical(name: str) -> str:
    """Return the spelling by which a class name is compared: case, space and ``_`` do not count."""
    plain = ' '.join(name.lower().replace('_', ' ').split())
    return _COCO_NAMES.get(plain, plain)


def matching(name: str, names: Sequence[str]) -> str | None:
    """Return the one of ``names`` that means the same class; the same spelling comes first."""
    if name in names:
        return name
    wanted = canonical(name)
    return next((other for other in names if canonical(other) == wanted), None)


@lru_cache(maxsize=1024)
def autoware_number(name: str) -> int:
    """Return the number of a class in Autoware's ``ObjectClassification``.

    Raises:
        ConfigError: it has no class of that name.
    """
    found = matching(name, AUTOWARE)
    if found is None:
        raise ConfigError(f'expected a class of Autoware, got {shown(name)}')
    return AUTOWARE.index(found)


def check_autoware(names: Iterable[str]) -> None:
    """Refuse classes that Autoware does not know.

    Raises:
        ConfigError: with all of them, and what to do.
    """
    wrong = [name for name in names if matching(name, AUTOWARE) is None]
    if wrong:
        raise ConfigError(
            f'outputs: objects have the classes of Autoware ({", ".join(AUTOWARE)}), not '
            f'{shown(wrong)}: give model.class_map, such as Autoware’s roi_label_remap.csv, or '
            'name the classes to detect in model.classes'
        )
