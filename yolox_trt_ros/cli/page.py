"""Write the files of a report, with sample pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from yolox_trt_ros.cli.console import Console, Text
from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.output_files import write_whole
from yolox_trt_ros.core.printing import one_line
from yolox_trt_ros.detect.cpu.preprocess import bgr_image
from yolox_trt_ros.draw.boxes import draw_detections
from yolox_trt_ros.draw.mosaic import fit_into
from yolox_trt_ros.report.findings import findings, headline
from yolox_trt_ros.report.page import html
from yolox_trt_ros.report.picture import png
from yolox_trt_ros.report.recording import Recording, Sample

SAMPLE_WIDTH, SAMPLE_QUALITY = 640, 78
MARKS = {'ok': ('ok', 'green'), 'warn': ('!!', 'yellow'), 'error': ('!!', 'red')}


def sample(camera: str, frame: Frame, found: Detections, labels: Sequence[str]) -> Sample:
    """Return an image with its detections drawn on it, as a small JPEG."""
    drawn = draw_detections(bgr_image(frame), found, labels)
    small: Any = fit_into(drawn, (SAMPLE_WIDTH, 2 * SAMPLE_WIDTH))
    _, jpeg = cv2.imencode('.jpg', small, [cv2.IMWRITE_JPEG_QUALITY, SAMPLE_QUALITY])
    return Sample(camera, frame.stamp_ns, len(found), np.asarray(jpeg).tobytes())


def write(recording: Recording, out: Path, console: Console) -> None:
    """Write the page and the picture beside it, and say where and what they say.

    Args:
        recording: what they are about.
        out: the HTML file; the picture gets the suffix ``.png``.
        console: where it is said.
    """
    picture = out.with_suffix('.png')
    with console.status('drawing …'):
        write_whole(out, html(recording))
        write_whole(picture, png(recording))
    found = findings(recording)
    console.print(f'{headline(found)[1]}:')
    for finding in found:
        mark, colour = MARKS[finding.level]
        line = Text.assemble(' ', (mark, colour), f' {one_line(finding.text)}')
        console.print(line, highlight=False)
    written = f'report {one_line(out)}, picture {one_line(picture)}'
    console.print(written, highlight=False, soft_wrap=True)
