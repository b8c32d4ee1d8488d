"""How Autoware's nodes read ``DetectedObjectsWithFeature``, in Python: their C++ is not built here.

After ``ByteTrackNode::on_rect`` (autoware_bytetrack) and ``RoiClusterFusionNode::
fuse_on_single_image`` with its geometry (autoware_image_projection_based_fusion), Apache-2.0.
Numbers have the widths that they have there: regions are uint32, and wrap around.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from rclpy.qos import QoSProfile, ReliabilityPolicy

UNKNOWN = 0
FUSION_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
"""Of its subscriptions to ``rois0`` … ``rois7``."""

# of config/roi_cluster_fusion.param.yaml
IOU, UNKNOWN_IOU, LEAST_EXISTENCE = 0.65, 0.1, 0.1


@dataclass(frozen=True, slots=True)
class TrackerObject:
    """What bytetrack takes of an object: whole pixels (int32), score and label."""

    x: int
    y: int
    width: int
    height: int
    score: float
    label: int


def bytetrack_objects(message: Any) -> list[TrackerObject]:
    """Return what bytetrack's tracker is given of a message."""
    objects = []
    for item in message.feature_objects:
        roi = item.feature.roi
        corner = (_int32(roi.x_offset), _int32(roi.y_offset))
        size = (_int32(roi.width), _int32(roi.height))
        score = item.object.existence_probability
        objects.append(TrackerObject(*corner, *size, score, _front(item).label))
    return objects


@dataclass(slots=True)
class Region:
    """A ``sensor_msgs/RegionOfInterest``: uint32."""

    x: int
    y: int
    width: int
    height: int

    @property
    def right(self) -> int:
        return _uint32(self.x + self.width)

    @property
    def bottom(self) -> int:
        return _uint32(self.y + self.height)

    def within(self, width: int, height: int) -> Region:
        """``sanitizeROI``."""
        if self.x >= width or self.y >= height:
            return Region(self.x, self.y, 0, 0)
        w = width - self.x if self.right > width else self.width
        h = height - self.y if self.bottom > height else self.height
        return Region(self.x, self.y, w, h)


def iou(one: Region, two: Region) -> float:
    """``calcIoU``; of two empty regions in one place it is 0 / 0."""
    left, top = max(one.x, two.x), max(one.y, two.y)
    right, bottom = min(one.right, two.right), min(one.bottom, two.bottom)
    if right < left or bottom < top:
        return 0.0
    overlap = float(right - left) * float(bottom - top)
    union = one.width * float(one.height) + two.width * float(two.height) - overlap
    return overlap / union if union else float('nan')


@dataclass(slots=True)
class Cluster:
    """A cluster of points seen in the image, and what fusion makes of it."""

    region: Region
    existence: float = 0.0
    label: int = UNKNOWN


def fuse(message: Any, clusters: Mapping[int, Cluster], width: int, height: int) -> None:
    """Give clusters the labels of the objects that they overlap.

    Args:
        message: of one camera.
        clusters: by number; changed.
        width, height: of the camera's ``CameraInfo``.
    """
    for item in message.feature_objects:
        label, existence = _front(item).label, item.object.existence_probability
        roi = item.feature.roi
        region = Region(roi.x_offset, roi.y_offset, roi.width, roi.height).within(width, height)
        best, most = None, 0.0
        for number, cluster in clusters.items():
            overlap = iou(cluster.region.within(width, height), region)
            if most < overlap:
                best, most = number, overlap
        if best is None:
            continue
        fused = clusters[best]
        enough = most > (UNKNOWN_IOU if label == UNKNOWN else IOU)
        if enough and fused.existence <= existence:
            fused.label, fused.existence = label, min(1.0, max(LEAST_EXISTENCE, existence))


def _front(item: Any) -> Any:
    """``classification.front()``, which is undefined where there is none."""
    return item.object.classification[0]


def _int32(value: int) -> int:
    return int(np.uint32(value).astype(np.int32))


def _uint32(value: int) -> int:
    return value % 2**32
