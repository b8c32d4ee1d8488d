"""Class names as data sets spell them, made comparable."""

from __future__ import annotations

from collections.abc import Sequence

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
