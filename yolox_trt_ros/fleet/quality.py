"""Average precision over all bags that hold ground truth, and for each condition.

Detections and labels of all images go into one evaluation, as if they were one data set: no average
of averages.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.evaluation.judge import Judge, Truth
from yolox_trt_ros.evaluation.matching import match
from yolox_trt_ros.fleet.query import ResultTables

TRUTH = 'SELECT bag, camera, stamp_ns, objects FROM truth'
IMAGES = """
    SELECT bag, camera, stamp_ns FROM images
    WHERE status = 'ok' AND bag IN (SELECT DISTINCT bag FROM truth)
"""
DETECTIONS = """
    SELECT bag, camera, stamp_ns, score, class_id, x1, y1, x2, y2 FROM detections
    WHERE bag IN (SELECT DISTINCT bag FROM truth) ORDER BY score DESC
"""
BOX = ('x1', 'y1', 'x2', 'y2')


def judge_of(tables: ResultTables, run: Mapping[str, Any]) -> Judge:
    """Return detections and ground truth of all bags that hold ground truth.

    A camera of one bag is called ``bag|camera``; stamps that came twice are left out.

    Args:
        tables: of the results.
        run: what ``run.json`` says.
    """
    judge = Judge(run['labels'], run['truth_labels'])
    numbers = {name: i for i, name in enumerate(run['truth_labels'])}
    rows: dict[tuple[str, int], list[Any]] = defaultdict(list)
    for bag, camera, stamp_ns, *row in tables.ask(DETECTIONS)[1]:
        rows[f'{bag}|{camera}', stamp_ns].append(row)
    for bag, camera, stamp_ns in tables.ask(IMAGES)[1]:
        name = f'{bag}|{camera}'
        judge.keep(judge.found, name, stamp_ns, _detections(rows[name, stamp_ns]))
    for bag, camera, stamp_ns, objects in tables.ask(TRUTH)[1]:
        judge.keep(judge.truth, f'{bag}|{camera}', stamp_ns, _truth(objects or [], numbers))
    return judge


def _detections(rows: list[Any]) -> Detections:
    table = np.array(rows, np.float64).reshape(-1, 6)
    return Detections(
        table[:, 2:].astype(np.float32),
        table[:, 0].astype(np.float32),
        table[:, 1].astype(np.int32),
    )


def _truth(objects: list[dict[str, Any]], numbers: Mapping[str, int]) -> Truth:
    boxes = np.array([[one[name] for name in BOX] for one in objects], np.float32)
    metres = [np.nan if one['distance_m'] is None else one['distance_m'] for one in objects]
    return Truth(
        Detections(
            boxes.reshape(-1, 4),
            np.array([one['counted'] for one in objects], np.float32),
            np.array([numbers[one['class']] for one in objects], np.int32),
        ),
        np.array(metres, np.float64),
    )


def quality(tables: ResultTables, judge: Judge) -> dict[str, Any]:
    """Return average precision over everything, and by condition and camera.

    Returns:
        ``all``: as :meth:`evaluation.judge.Judge.report`; ``by``: the same for each condition, such
        as ``weather=rain``, and each ``camera=front``. Empty where no image has both results and
        ground truth, or no class is known to both.
    """
    try:
        everything = judge.report()
    except ConfigError:
        return {}
    rows = tables.ask('SELECT bag, conditions FROM bags')[1]
    conditions = {bag: json.loads(text or '{}') for bag, text in rows}
    groups: dict[str, list[str]] = defaultdict(list)
    for name in judge.cameras():
        bag, _, camera = name.rpartition('|')
        for key, value in [('camera', camera), *conditions.get(bag, {}).items()]:
            groups[f'{key}={value}'].append(name)
    by = {group: _part(judge, names).report() for group, names in sorted(groups.items())}
    return {'all': everything, 'by': by}


def _part(judge: Judge, names: list[str]) -> Judge:
    """Return the images of some cameras alone."""
    part = Judge(judge.labels, judge.truth_labels)
    part.found.update({name: judge.found[name] for name in names})
    part.truth.update({name: judge.truth[name] for name in names})
    part.repeated.update({name: judge.repeated[name] for name in names if name in judge.repeated})
    return part


def misses(judge: Judge, counted: float) -> Iterator[tuple[int, str, str, int, np.ndarray]]:
    """Yield images with labelled objects that were not found.

    Args:
        judge: of all images.
        counted: score from which detections count.

    Yields:
        How many were missed, bag, camera, stamp, and the missed boxes: float32 (n, 4).
    """
    classes = judge.classes
    for name in judge.cameras():
        bag, _, camera = name.rpartition('|')
        for stamp_ns in judge.stamps(name):
            if stamp_ns not in judge.truth[name]:
                continue
            found = classes.found(judge.found[name][stamp_ns])
            truth = classes.truth(judge.truth[name][stamp_ns].boxes)
            claimed, _ = match(found[found.score >= counted], truth)
            missed = (truth.score > 0) & ~claimed
            if count := int(missed.sum()):
                yield count, bag, camera, stamp_ns, truth.xyxy[missed]
