"""Take single pictures out of bags again, with what was found in them drawn on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from yolox_trt_ros.bags.reader import Bag
from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.errors import BagError, ConfigError, FrameError
from yolox_trt_ros.core.printing import one_line
from yolox_trt_ros.core.transports import TRANSPORT_OF_TYPE, TRANSPORTS
from yolox_trt_ros.detect.cpu.preprocess import bgr_image
from yolox_trt_ros.draw.boxes import draw_detections
from yolox_trt_ros.fleet.query import ResultTables
from yolox_trt_ros.fleet.stored_bag import opened_bag
from yolox_trt_ros.fleet.worker import LEAD_IN_NS
from yolox_trt_ros.ros.input.codecs import Arrival
from yolox_trt_ros.ros.input.readers import new_reader

KEY = ('bag', 'camera', 'stamp_ns')
PLACES = f"""
    SELECT bag, camera, stamp_ns, topic, recorded_ns,
           count(*) OVER (PARTITION BY {', '.join(KEY)}) AS same FROM images
    WHERE status = 'ok' AND (bag, camera, stamp_ns) IN (SELECT {', '.join(KEY)} FROM wanted)
    ORDER BY bag, recorded_ns
"""
BOXES = f"""
    SELECT bag, camera, stamp_ns, class, score, class_id, x1, y1, x2, y2 FROM detections
    WHERE (bag, camera, stamp_ns) IN (SELECT {', '.join(KEY)} FROM wanted) ORDER BY score DESC
"""
PictureKey = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class FleetPicture:
    """A picture of a bag.

    Attributes:
        key: bag, camera, header stamp.
        drawn: BGR, with boxes; None: the bag does not give it any more.
        problem: why not.
    """

    key: PictureKey
    drawn: np.ndarray | None
    problem: str = ''


def keys_of(names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> list[PictureKey]:
    """Return which pictures the rows of a query are about, each once.

    Raises:
        ConfigError: the query has not the columns for it.
    """
    if missing := [name for name in KEY if name not in names]:
        raise ConfigError(
            f'--pictures: expected a query with the columns {", ".join(KEY)}, it lacks '
            f'{", ".join(missing)}'
        )
    at = [list(names).index(name) for name in KEY]
    keys: list[Any] = [tuple(row[i] for i in at) for row in rows]
    return list(dict.fromkeys(keys))


def pictures(
    tables: ResultTables, keys: Sequence[PictureKey], drawn: bool = True
) -> Iterator[FleetPicture]:
    """Yield pictures, bag by bag, with their detections if they are to be drawn.

    Of images that share their header stamp none is drawn: which boxes are whose is unknown.
    """
    if not keys:
        return
    tables.want(KEY, keys)
    boxes: dict[PictureKey, list[Any]] = defaultdict(list)
    for bag, camera, stamp_ns, *box in tables.ask(BOXES)[1]:
        boxes[bag, camera, stamp_ns].append(box)
    by_bag: dict[str, list[Any]] = defaultdict(list)
    repeated: dict[PictureKey, int] = {}
    for *row, same in tables.ask(PLACES)[1]:
        if same > 1:
            repeated[row[0], row[1], row[2]] = same
        else:
            by_bag[row[0]].append(tuple(row))
    for key, same in repeated.items():
        yield FleetPicture(key, None, f'{same} images of {key[1]} have the stamp {key[2]}')
    for uri, rows in by_bag.items():
        try:
            with opened_bag(uri) as bag:
                for row in rows:
                    yield _picture(bag, row, boxes[row[0], row[1], row[2]] if drawn else [])
        except BagError as error:
            yield FleetPicture(rows[0][:3], None, one_line(error))


def _picture(bag: Bag, row: tuple[Any, ...], boxes: list[Any]) -> FleetPicture:
    uri, camera, stamp_ns, topic, recorded_ns = row
    key = uri, camera, stamp_ns
    transport = TRANSPORT_OF_TYPE[bag.topics[topic].type]
    reader, problem = new_reader(transport), 'the bag does not hold it any more'
    begin = recorded_ns - (LEAD_IN_NS if TRANSPORTS[transport].stream else 0)
    for message in bag.messages([topic], begin, recorded_ns + 1):
        try:
            frame = reader(message.cdr, Arrival(camera, 0, 0))
        except FrameError as error:
            problem = one_line(error) if message.t_ns == recorded_ns else problem
            continue
        if (message.t_ns, frame.stamp_ns) == (recorded_ns, stamp_ns):
            names = {one[2]: one[0] for one in boxes}
            return FleetPicture(key, draw_detections(bgr_image(frame), found_of(boxes), names))
    return FleetPicture(key, None, problem)


def found_of(rows: list[Any]) -> Detections:
    """Return detections of rows: class, score, class_id, x1, y1, x2, y2."""
    table = np.array([row[1:] for row in rows], np.float64).reshape(-1, 6)
    return Detections(
        table[:, 2:].astype(np.float32),
        table[:, 0].astype(np.float32),
        table[:, 1].astype(np.int32),
    )
