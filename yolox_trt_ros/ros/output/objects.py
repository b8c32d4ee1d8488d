"""Detections as Autoware's detectors publish them: ``DetectedObjectsWithFeature``.

Regions as `TrtYoloX::decodeOutputs` of autoware_tensorrt_yolox makes them, and labels as its
`TrtYoloXDetector::detect` does: whole pixels inside the image, one classification of probability 1,
the score as probability of existence.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np

from yolox_trt_ros.core.class_names import AUTOWARE, autoware_number, check_autoware, matching
from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.rules import Rules
from yolox_trt_ros.core.topics import RESULTS
from yolox_trt_ros.ros.message_types import message_class
from yolox_trt_ros.ros.output.message_kinds import FoundMessage, header_of

CLASSIFICATION = 'autoware_perception_msgs/msg/ObjectClassification'
OBJECT = 'tier4_perception_msgs/msg/DetectedObjectWithFeature'

NUMBERS = {
    'object.existence_probability': 'score',
    'feature.roi.x_offset': 'inner_left',
    'feature.roi.y_offset': 'inner_top',
    'feature.roi.width': 'inner_width',
    'feature.roi.height': 'inner_height',
}
"""Rounded down, so that every region lies inside the image; that of a box wholly outside of it is
empty."""


def objects_message(frame: Frame, found: Detections, labels: Sequence[str]) -> Any:
    """Return a frame's detections as ``DetectedObjectsWithFeature``.

    Args:
        frame: the image they were found in; its header is the message's.
        found: the detections; their own names of classes go before ``labels``.
        labels: names of classes, all of them such as :func:`autoware_number` knows.
    """
    message = message_class(RESULTS['objects'].type)(header=header_of(frame))
    new_object, new_classification = message_class(OBJECT), message_class(CLASSIFICATION)
    last = np.array([frame.width - 1, frame.height - 1] * 2, np.float32)
    boxes = np.minimum(np.maximum(found.xyxy, 0), last)
    boxes[:, 2:] -= boxes[:, :2]
    names = found.labels or labels
    rows = zip(boxes.tolist(), found.score.tolist(), found.class_id.tolist(), strict=True)
    for (left, top, width, height), score, class_id in rows:
        item = new_object()
        item.object.existence_probability = score
        label = autoware_number(names[class_id])
        item.object.classification = [new_classification(label=label, probability=1.0)]
        roi = item.feature.roi
        roi.x_offset, roi.y_offset = int(left), int(top)
        roi.width, roi.height = int(width), int(height)
        message.feature_objects.append(item)
    return message


def objects_of_vehicle(_config: Config, rules: Rules) -> FoundMessage:
    """Return how :func:`objects_message` is published.

    Raises:
        ConfigError: a class that may be found is none of Autoware's.
        MissingDependencyError: Autoware's messages are not installed.
    """
    check_autoware(rules.labels[i] for i in rules.wanted)
    for kind in (RESULTS['objects'].type, OBJECT, CLASSIFICATION):
        message_class(kind)
    # Classes that are left out are never found; they only stand in the list.
    return objects_message_of(n if matching(n, AUTOWARE) else AUTOWARE[0] for n in rules.labels)


def objects_message_of(names: Iterable[str]) -> FoundMessage:
    """Return how :func:`objects_message` is published.

    Args:
        names: of classes, all of them Autoware's.
    """
    labels = tuple(names)
    build = partial(objects_message, labels=labels)
    return FoundMessage(build, 'feature_objects', NUMBERS, len(labels), labels=labels)
