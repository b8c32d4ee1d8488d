"""The page and the picture: complete, self-contained, right in what they show."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
from drive import SECOND, T0, status

from yolox_trt_ros.report import charts, timeline
from yolox_trt_ros.report.drawing import Box, Drawing, Path, Text, to_svg
from yolox_trt_ros.report.gather import Gatherer
from yolox_trt_ros.report.page import PHONE, WIDE, html
from yolox_trt_ros.report.picture import _layout, png, to_png
from yolox_trt_ros.report.recording import Quality, Recording, Sample

CHARTS = (
    charts.latency_by_camera, charts.latency_by_stage, charts.stages_by_camera,
    charts.age_over_time, charts.drops_over_time, charts.classes, timeline.timeline,
)  # fmt: skip
VOID = {'meta', 'img', 'rect', 'polyline', 'polygon', 'br'}


class Reader(HTMLParser):
    """Checks that elements nest, and collects text and addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        self.addresses += [v or '' for k, v in attrs if k in ('src', 'href')]

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    assert not reader.open
    return reader


@pytest.fixture(scope='module')
def full(recording: Recording) -> Recording:
    jpeg = cv2.imencode('.jpg', np.full((60, 80, 3), 77, np.uint8))[1].tobytes()
    samples = (Sample('front', recording.span_ns[0], 3, jpeg),)
    return replace(recording, samples=samples, quality=(Quality('rear', 40, 40, 0.5, None),))


def test_the_page_needs_nothing_from_outside(full: Recording):
    page = html(full)
    assert all(address.startswith('data:') for address in read(page).addresses)
    outside = re.findall(r'(?:https?:)?//[\w.-]+|@import|url\(', page.replace('// Two', ''))
    assert set(outside) == {'http://www.w3.org'}, 'the name space of SVG is all'


def test_the_page_shows_everything(full: Recording):
    text = ' '.join(read(html(full)).texts)
    for part in ('front', 'rear', 'CUDA error', 'no lane → gpu', 'all on the GPU', 'car', '50.0%',
                 'rear 306 ms (limit 200', 'a <drive>', 'replaced 15'):  # fmt: skip
        assert part in text, part
    assert '<drive>' not in html(full), 'text is escaped'


@pytest.mark.parametrize('chart', CHARTS)
@pytest.mark.parametrize('width', [WIDE, PHONE])
def test_charts_stay_within_their_paper(chart, width, full: Recording):
    drawing = chart(full, width)
    assert drawing.shapes
    for shape in drawing.shapes:
        if isinstance(shape, Box):
            assert shape.x >= -0.5 and shape.x + shape.width <= width + 1
            assert shape.y >= -0.5 and shape.y + shape.height <= drawing.height + 1
        elif isinstance(shape, Text):
            assert 0 <= shape.x <= width and 0 <= shape.y <= drawing.height
        else:
            assert all(-0.5 <= x <= width + 1 and y >= -4 for x, y in shape.points)


@pytest.mark.parametrize('chart', CHARTS)
def test_charts_of_nothing(chart):
    assert chart(Gatherer().recording('nothing'), WIDE).width == WIDE


def test_pages_of_little():
    read(html(Gatherer().recording('nothing')))
    assert png(Gatherer().recording('nothing'))


def test_the_picture_shows_charts_and_samples(full: Recording):
    picture = cv2.imdecode(np.frombuffer(png(full), np.uint8), cv2.IMREAD_COLOR)
    height, width = picture.shape[:2]
    assert width > 1500 and height > 800
    grey = (np.abs(picture.astype(int) - 77) < 4).all(axis=2).sum()
    assert grey > 20_000, 'the sample is there'
    front = (np.abs(picture.astype(int) - (0xD0, 0x69, 0x42)) < 50).all(axis=2).sum()
    assert front > 2_000, 'the colour of the front camera is there'


def test_a_tall_sample_has_its_caption_below_it(full: Recording):
    tall = cv2.imencode('.jpg', np.full((90, 60, 3), 77, np.uint8))[1].tobytes()
    (sample,) = full.samples
    samples = (sample, replace(sample, camera='rear', jpeg=tall))
    drawing, images = _layout(replace(full, samples=samples))
    (below,) = {s.y for s in drawing.shapes if isinstance(s, Text) and s.text == 'rear'
                and s.x == max(x for x, _, _ in images)}  # fmt: skip
    (_, y, wide), *_ = images
    assert below > y + 1.5 * wide


def test_pixels_are_where_the_drawing_says():
    drawing = Drawing(40, 30)
    drawing.add(Box(10, 5, 20, 10, '#ff0000'), Path([(0, 25), (40, 25)], '#0000ff', 4))
    picture = cv2.imdecode(np.frombuffer(to_png(drawing), np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (30, 40, 3)
    assert picture[10, 20].tolist() == [0, 0, 255] and picture[25, 20].tolist() == [255, 0, 0]
    assert picture[2, 2].tolist() == [255, 255, 255]


def test_svg_of_its_own_has_colours_and_escapes():
    drawing = Drawing(40, 30)
    drawing.add(Box(1, 2, 3, 4, 'ok', tip='a "b" & c', key='x'), Text(1, 1, 'a < b'))
    svg = to_svg(drawing, named_colours=False)
    assert 'fill="#2f9e6b"' in svg and 'a &lt; b' in svg and 'var(' not in svg
    assert 'fill="var(--ok)"' in to_svg(drawing)


def test_an_hour_is_as_large_as_a_minute():
    gatherer = Gatherer()
    for i in range(3600):
        state = 'quarantined' if i == 1800 else 'running'
        gatherer.add_status(status(T0 + i * SECOND, 100 + 10 * i, i, state=state))
    hour = gatherer.recording('hour')
    drops = charts.drops_over_time(hour, WIDE)
    assert sum(float(b.tip.split()[1]) for b in drops.shapes if getattr(b, 'tip', '')) == 2 * 3599
    lanes = timeline.timeline(hour, WIDE)
    assert len(drops.shapes) < 500 and len(lanes.shapes) < 1000
    faults = [b for b in lanes.shapes if isinstance(b, Box) and 'quarantined' in b.tip]
    assert faults and faults[0].width > 0, 'a fault of one second is not lost'
