"""Results in other forms: COCO JSON as labels, and MCAP bags that are played beside the drives."""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from yolox_trt_ros.bags.writer import BagWriter
from yolox_trt_ros.core.messages import seconds_and_rest
from yolox_trt_ros.core.topics import RESULTS
from yolox_trt_ros.fleet.plan import bag_id
from yolox_trt_ros.fleet.query import ResultTables
from yolox_trt_ros.fleet.store import Store

DETECTOR = '/detector'
IMAGES = """
    SELECT bag, camera, stamp_ns, recorded_ns, frame_id, width, height FROM images
    WHERE status = 'ok' QUALIFY count(*) OVER (PARTITION BY bag, camera, stamp_ns) = 1
    ORDER BY bag, recorded_ns, camera
"""
REPEATED = """
    SELECT coalesce(sum(same), 0) FROM (
        SELECT count(*) AS same FROM images WHERE status = 'ok'
        GROUP BY bag, camera, stamp_ns HAVING count(*) > 1)
"""
BOXES = """
    SELECT bag, camera, stamp_ns, class_id, score, x1, y1, x2, y2 FROM detections
    WHERE bag = ? ORDER BY score DESC
"""


def picture_name(bag: str, camera: str, stamp_ns: int) -> str:
    """Return what a picture of a bag is called as a file."""
    return f'{bag_id(bag)}/{camera.strip("/").replace("/", "_")}/{stamp_ns}.jpg'


def repeated_images(tables: ResultTables) -> int:
    """Return how many images have a header stamp that another of their camera has, too.

    Nobody knows which boxes are whose, so the other forms of results leave these images out.
    """
    return int(tables.ask(REPEATED)[1][0][0])


def coco(tables: ResultTables, run: Mapping[str, Any]) -> dict[str, Any]:
    """Return detections as COCO labels; each has its score."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for bag, rows in _by_bag(tables).items():
        boxes = _boxes(tables, bag)
        for camera, stamp_ns, _, _, width, height in rows:
            number = len(images) + 1
            name = picture_name(bag, camera, stamp_ns)
            images.append({'id': number, 'file_name': name, 'width': width, 'height': height})
            for class_id, score, x1, y1, x2, y2 in boxes[camera, stamp_ns]:
                annotations.append(
                    {
                        'id': len(annotations) + 1, 'image_id': number,
                        'category_id': class_id + 1, 'score': round(score, 5), 'iscrowd': 0,
                        'bbox': [round(v, 3) for v in (x1, y1, x2 - x1, y2 - y1)],
                        'area': round((x2 - x1) * (y2 - y1), 3),
                    }
                )  # fmt: skip
    return {
        'info': {'description': f'detections of {run["model"]}, not labels of people'},
        'images': images,
        'annotations': annotations,
        'categories': [{'id': i + 1, 'name': name} for i, name in enumerate(run['labels'])],
    }


def _by_bag(tables: ResultTables) -> dict[str, list[tuple[Any, ...]]]:
    found: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for bag, *row in tables.ask(IMAGES)[1]:
        found[bag].append(tuple(row))
    return found


def _boxes(tables: ResultTables, bag: str) -> dict[tuple[str, int], list[Any]]:
    found: dict[tuple[str, int], list[Any]] = defaultdict(list)
    for _, camera, stamp_ns, *row in tables.ask(BOXES, [bag])[1]:
        found[camera, stamp_ns].append(row)
    return found


def write_coco(store: Store, tables: ResultTables, run: Mapping[str, Any]) -> None:
    """Write ``coco.json`` beside the tables."""
    store.write('coco.json', json.dumps(coco(tables, run)).encode())


def write_sidecars(store: Store, tables: ResultTables, run: Mapping[str, Any]) -> int:
    """Write a bag of ``Detection2DArray`` for each bag, at its images' times; return how many.

    They have the topics and the class ids of the node, in ``sidecars/`` beside the tables.
    """
    bags = _by_bag(tables)
    for bag, rows in bags.items():
        with tempfile.TemporaryDirectory(prefix='yolox_trt_ros_sidecar_') as folder:
            target = Path(folder, bag_id(bag))
            _write_sidecar(target, rows, _boxes(tables, bag), run['labels'])
            for file in sorted(target.iterdir()):
                store.write(f'sidecars/{target.name}/{file.name}', file.read_bytes())
    return len(bags)


def _write_sidecar(
    target: Path,
    rows: Sequence[tuple[Any, ...]],
    boxes: Mapping[tuple[str, int], list[Any]],
    labels: Sequence[str],
) -> None:
    kind, label_info = RESULTS['detections'], RESULTS['label_info']
    with BagWriter(target, compression='chunk') as bag:
        make = MessageMaker(bag)
        names = label_info.of(DETECTOR)
        bag.add_topic(names, label_info.type)
        bag.write(names, rows[0][2], make.label_info(labels, rows[0][2]))
        for camera, stamp_ns, recorded_ns, frame_id, _, _ in rows:
            topic = kind.of(DETECTOR, camera.strip('/').replace('/', '_'))
            bag.add_topic(topic, kind.type)
            bag.write(
                topic, recorded_ns, make.detections(stamp_ns, frame_id, boxes[camera, stamp_ns])
            )


class MessageMaker:
    """Makes messages of vision_msgs without ROS 2, from their definitions."""

    def __init__(self, bag: BagWriter) -> None:
        self._make, self._write = bag.definitions.make, bag.definitions.write

    def _header(self, stamp_ns: int, frame_id: str) -> Any:
        seconds, rest = seconds_and_rest(stamp_ns)
        stamp = self._make('builtin_interfaces/msg/Time', sec=seconds, nanosec=rest)
        return self._make('std_msgs/msg/Header', stamp=stamp, frame_id=frame_id)

    def label_info(self, labels: Sequence[str], stamp_ns: int) -> bytes:
        """Return a ``LabelInfo``."""
        classes = [
            self._make('vision_msgs/msg/VisionClass', class_id=i, class_name=name)
            for i, name in enumerate(labels)
        ]
        header = self._header(stamp_ns, '')
        kind = 'vision_msgs/msg/LabelInfo'
        return self._write(self._make(kind, header=header, class_map=classes, threshold=0.0))

    def detections(self, stamp_ns: int, frame_id: str, rows: Sequence[Any]) -> bytes:
        """Return a ``Detection2DArray`` of rows: class_id, score, x1, y1, x2, y2."""
        header = self._header(stamp_ns, frame_id)
        found = [self._detection(header, *row) for row in rows]
        kind = 'vision_msgs/msg/Detection2DArray'
        return self._write(self._make(kind, header=header, detections=found))

    def _detection(
        self, header: Any, class_id: int, score: float, x1: float, y1: float, x2: float, y2: float
    ) -> Any:
        make = self._make
        hypothesis = make(
            'vision_msgs/msg/ObjectHypothesis', class_id=str(class_id), score=float(score)
        )
        zero = make('geometry_msgs/msg/Point', x=0.0, y=0.0, z=0.0)
        straight = make('geometry_msgs/msg/Quaternion', x=0.0, y=0.0, z=0.0, w=1.0)
        pose = make(
            'geometry_msgs/msg/PoseWithCovariance',
            pose=make('geometry_msgs/msg/Pose', position=zero, orientation=straight),
            covariance=np.zeros(36),
        )
        result = make('vision_msgs/msg/ObjectHypothesisWithPose', hypothesis=hypothesis, pose=pose)
        middle = make('vision_msgs/msg/Point2D', x=(x1 + x2) / 2, y=(y1 + y2) / 2)
        box = make(
            'vision_msgs/msg/BoundingBox2D',
            center=make('vision_msgs/msg/Pose2D', position=middle, theta=0.0),
            size_x=x2 - x1,
            size_y=y2 - y1,
        )
        return make('vision_msgs/msg/Detection2D', header=header, results=[result], bbox=box, id='')
