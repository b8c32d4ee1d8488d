"""One HTML page about the results of a fleet: totals, slow bags, classes, misses, rarities."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from yolox_trt_ros.core.messages import SECOND_NS
from yolox_trt_ros.core.printing import one_line
from yolox_trt_ros.draw.mosaic import fit_into
from yolox_trt_ros.evaluation.judge import Judge
from yolox_trt_ros.fleet.packages import package
from yolox_trt_ros.fleet.pictures import FleetPicture, PictureKey, pictures
from yolox_trt_ros.fleet.quality import misses
from yolox_trt_ros.fleet.query import ResultTables

HERE = Path(__file__).parent
MOST_ROWS, MOST_PICTURES = 20, 6
MISSED_COLOUR = (60, 60, 235)
COUNTED = 0.3
"""Score from which a detection counts as found."""
PICTURE_WIDTH, QUALITY = 480, 78

TOTALS = """
    SELECT count(DISTINCT bag), count(*), sum(images), sum(detections), sum(unread),
           sum(seconds), count(*) FILTER (status = 'failed'), count(DISTINCT worker) FROM segments
"""
SLOWEST = f"""
    SELECT bag, sum(images) AS images, round(sum(seconds), 1) AS seconds,
           round(1000 * sum(seconds) / nullif(sum(images), 0), 1) AS "ms/image",
           round(100 * sum(detect_s) / nullif(sum(seconds), 0)) AS "% detecting"
    FROM segments GROUP BY bag ORDER BY seconds DESC LIMIT {MOST_ROWS}
"""
FAILED = f"""
    SELECT bag, 'cannot be read' AS what, problem AS reason FROM bags WHERE problem <> ''
    UNION ALL SELECT bag, 'segment ' || segment || ' ' || status, reason FROM segments
    WHERE status <> 'ok' ORDER BY bag LIMIT {5 * MOST_ROWS}
"""
BY_HOUR = """
    SELECT class, hour(time) AS hour, count(*) FROM detections GROUP BY ALL ORDER BY class, hour
"""
RAREST = f"""
    SELECT bag, camera, stamp_ns FROM (
        SELECT bag, camera, stamp_ns, class, max(score) AS score, count(*) OVER (PARTITION BY class)
            AS seen FROM detections GROUP BY bag, camera, stamp_ns, class)
    QUALIFY row_number() OVER (PARTITION BY class ORDER BY score DESC) <= 2
    ORDER BY seen, class, score DESC LIMIT {MOST_PICTURES}
"""


@dataclass(frozen=True, slots=True)
class PageTable:
    """A table of the page."""

    title: str
    names: Sequence[str]
    rows: Sequence[Sequence[Any]]
    words: str = ''


@dataclass(frozen=True, slots=True)
class PagePicture:
    """A picture of the page: JPEG in base64, empty where there is none, and what it is."""

    jpeg: str
    words: str


@dataclass(frozen=True, slots=True)
class Gallery:
    """Pictures of the page."""

    title: str
    words: str
    pictures: Sequence[PagePicture]


def page(
    tables: ResultTables, run: Mapping[str, Any], out: str, judge: Judge, quality: Mapping[str, Any]
) -> str:
    """Return the page.

    Args:
        tables: of the results.
        run: what ``run.json`` says.
        out: where the results are.
        judge, quality: of :mod:`fleet.quality`.
    """
    jinja = package('jinja2')
    environment = jinja.Environment(
        loader=jinja.FileSystemLoader(HERE), autoescape=True, undefined=jinja.StrictUndefined,
        trim_blocks=True, finalize=_printable,
    )  # fmt: skip
    style = (HERE / 'page.css').read_text('utf-8').replace('\n', ' ')
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    shown = [
        _table(tables, 'Slowest bags', SLOWEST),
        _by_hour(tables),
        _table(tables, 'What has no results, or not all', FAILED),
        *_quality_tables(quality),
    ]
    html: str = environment.get_template('page.html').render(
        style=package('markupsafe').Markup(style), style_hash=digest, out=out,
        model=run['model'], version=run['version'], date=time.strftime('%Y-%m-%d %H:%M %Z'),
        totals=_totals(tables), tables=shown, galleries=_galleries(tables, judge),
    )  # fmt: skip
    return html


def _printable(value: Any) -> Any:
    # Markup is a str, too, and stays what it is.
    return one_line(value) if type(value) is str else value


def _totals(tables: ResultTables) -> list[tuple[str, str]]:
    values = [value or 0 for value in tables.ask(TOTALS)[1][0]]
    bags, segments, images, detections, unread, seconds, failed, workers = values
    return [
        (f'{bags:,}', 'bags with results'),
        (f'{segments:,}', 'segments'),
        (f'{images:,}', 'images'),
        (f'{detections:,}', 'detections'),
        (f'{unread:,}', 'images that could not be read'),
        (f'{failed:,}', 'segments failed'),
        (f'{seconds / 3600:.2f}', 'hours of work'),
        (f'{images / seconds if seconds else 0:.1f}', 'images/s a worker'),
        (f'{workers:,}', 'workers'),
    ]


def _table(tables: ResultTables, title: str, sql: str) -> PageTable:
    names, rows = tables.ask(sql)
    return PageTable(title, names, rows)


def _by_hour(tables: ResultTables) -> PageTable:
    counts: dict[str, dict[int, int]] = {}
    for label, hour, count in tables.ask(BY_HOUR)[1]:
        counts.setdefault(label, {})[hour] = count
    hours = sorted({hour for by in counts.values() for hour in by})
    rows = [[label, *(f'{by.get(h, 0):,}' for h in hours)] for label, by in counts.items()]
    return PageTable('Classes by hour', ['class', *(f'{h:02d} h' for h in hours)], rows)


def _quality_tables(quality: Mapping[str, Any]) -> list[PageTable]:
    if not quality:
        return []

    def percent(value: float | None) -> str:
        return '–' if value is None else f'{100 * value:.1f}'

    every = {'everything': quality['all'], **quality['by']}
    rows = [
        [n, of['images'], percent(of['map50']), percent(of['map50_95'])] for n, of in every.items()
    ]
    classes = [
        [name, of['labels'], percent(of['ap50']), percent(of['ap50_95'])]
        for name, of in quality['all']['per_class'].items()
    ]
    words = (
        'Exact over all images together. Only what was kept counts: a low --score gives full AP.'
    )
    return [
        PageTable('Accuracy', ['of', 'images', 'mAP50', 'mAP50-95'], rows, words),
        PageTable('Accuracy by class', ['class', 'labels', 'AP50', 'AP50-95'], classes),
    ]


def _galleries(tables: ResultTables, judge: Judge) -> list[Gallery]:
    rarest: list[Any] = tables.ask(RAREST)[1]
    shown = [_shown(one) for one in pictures(tables, rarest)]
    found = [Gallery('The rarest classes', 'The surest pictures of each.', shown)]
    worst = sorted(misses(judge, COUNTED), key=lambda miss: -miss[0])[:MOST_PICTURES]
    if worst:
        boxes: dict[PictureKey, np.ndarray] = {tuple(miss[1:4]): miss[4] for miss in worst}  # type: ignore[misc]
        shown = [
            _shown(one, boxes[one.key]) for one in islice(pictures(tables, [*boxes]), len(boxes))
        ]
        words = (
            f'Most labelled objects without a detection of score {COUNTED} or more; those in red.'
        )
        found.append(Gallery('Worst misses', words, shown))
    return found


def _shown(picture: FleetPicture, missed: np.ndarray | None = None) -> PagePicture:
    bag, camera, stamp_ns = picture.key
    words = f'{camera} at {stamp_ns / SECOND_NS:.3f} of {bag} {picture.problem}'
    if picture.drawn is None:
        return PagePicture('', words)
    drawn = picture.drawn
    for x1, y1, x2, y2 in np.round(missed if missed is not None else np.empty((0, 4))).astype(int):
        cv2.rectangle(drawn, (int(x1), int(y1)), (int(x2), int(y2)), MISSED_COLOUR, 2)
    small = fit_into(drawn, (PICTURE_WIDTH, 2 * PICTURE_WIDTH))
    _, jpeg = cv2.imencode('.jpg', small, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return PagePicture(base64.b64encode(np.asarray(jpeg).tobytes()).decode(), words)
