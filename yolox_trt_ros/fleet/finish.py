"""What stands beside the tables when a run is over: the page, the accuracy, other forms."""

from __future__ import annotations

import json
from collections.abc import Iterator

from yolox_trt_ros.core.errors import YoloxTrtRosError
from yolox_trt_ros.core.printing import one_line
from yolox_trt_ros.fleet.exports import repeated_images, write_coco, write_sidecars
from yolox_trt_ros.fleet.page import page
from yolox_trt_ros.fleet.quality import judge_of, quality
from yolox_trt_ros.fleet.query import ResultTables
from yolox_trt_ros.fleet.results import require
from yolox_trt_ros.fleet.store import Store

PAGE, QUALITY = 'report.html', 'quality.json'
MOST_SAID = 20
"""Cameras whose stamps do not tell their images apart that are named; quality.json has all."""


def finish(store: Store, *, with_coco: bool = False, with_sidecars: bool = False) -> Iterator[str]:
    """Write what stands beside the tables, and yield a sentence for each.

    Raises:
        YoloxTrtRosError: something cannot be written.
    """
    run = require(store)
    with ResultTables(store) as tables:
        judge = judge_of(tables, run)
        figures = quality(tables, judge)
        if figures:
            store.write(QUALITY, json.dumps(figures, indent=1).encode())
            every = figures['all']
            yield (
                f'mAP50 {_percent(every["map50"])}, mAP50-95 {_percent(every["map50_95"])} over '
                f'{every["images"]:,} images with ground truth: {store.uri}/{QUALITY}'
            )
        unclear = judge.ambiguous()
        yield from map(one_line, unclear[:MOST_SAID])
        if len(unclear) > MOST_SAID:
            yield f'… and {len(unclear) - MOST_SAID} more cameras'
        if repeated := repeated_images(tables):
            yield (
                f'{repeated:,} images share their header stamp with another of their camera: which '
                'boxes are whose is unknown, so labels, bags beside the drives and pictures are '
                'without them'
            )
        if with_coco:
            write_coco(store, tables, run)
            yield f'labels: {store.uri}/coco.json'
        if with_sidecars:
            yield f'{write_sidecars(store, tables, run)} bags: {store.uri}/sidecars'
        store.write(PAGE, page(tables, run, store.uri, judge, figures).encode())
        yield f'page: {store.uri}/{PAGE}'


def _percent(value: float | None) -> str:
    return 'unknown' if value is None else f'{100 * value:.1f}'


def finished(store: Store, *, with_coco: bool, with_sidecars: bool) -> Iterator[str]:
    """Yield what :func:`finish` does; what goes wrong there costs no result of the run."""
    try:
        yield from finish(store, with_coco=with_coco, with_sidecars=with_sidecars)
    except YoloxTrtRosError as error:
        yield f'the page is missing: {one_line(error)}; "fleet report" makes it again'
