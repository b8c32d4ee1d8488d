"""What stands beside the tables when a run is over: the page, the accuracy, other forms."""

from __future__ import annotations

import json
from collections.abc import Iterator

from yolox_trt_ros.core.errors import YoloxTrtRosError
from yolox_trt_ros.core.printing import one_line
from yolox_trt_ros.fleet.exports import write_coco, write_sidecars
from yolox_trt_ros.fleet.page import page
from yolox_trt_ros.fleet.quality import judge_of, quality
from yolox_trt_ros.fleet.query import ResultTables
from yolox_trt_ros.fleet.results import require
from yolox_trt_ros.fleet.store import Store

PAGE, QUALITY = 'report.html', 'quality.json'


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
                f'mAP50 {100 * (every["map50"] or 0):.1f}, mAP50-95 '
                f'{100 * (every["map50_95"] or 0):.1f} over {every["images"]:,} images with ground '
                f'truth: {store.uri}/{QUALITY}'
            )
        if with_coco:
            write_coco(store, tables, run)
            yield f'labels: {store.uri}/coco.json'
        if with_sidecars:
            yield f'{write_sidecars(store, tables, run)} bags: {store.uri}/sidecars'
        store.write(PAGE, page(tables, run, store.uri, judge, figures).encode())
        yield f'page: {store.uri}/{PAGE}'


def finished(store: Store, *, with_coco: bool, with_sidecars: bool) -> Iterator[str]:
    """Yield what :func:`finish` does; what goes wrong there costs no result of the run."""
    try:
        yield from finish(store, with_coco=with_coco, with_sidecars=with_sidecars)
    except YoloxTrtRosError as error:
        yield f'the page is missing: {one_line(error)}; "fleet report" makes it again'
