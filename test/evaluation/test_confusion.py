"""Confusion, recall by size and distance, and the sheet of mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from labelled_world import write_labelled

from yolox_trt_ros.__main__ import main
from yolox_trt_ros.datasets.labelled import LabelledBoxes
from yolox_trt_ros.evaluation.confusion import confusion
from yolox_trt_ros.evaluation.misses import COLUMNS, DETECTION, LABEL, TILE, WorstMisses
from yolox_trt_ros.image_files import read_image

CLASSES = ('car', 'bus')
LABELS = LabelledBoxes(
    np.array([[0, 0, 40, 40], [100, 0, 140, 20], [200, 0, 300, 100], [0, 100, 99, 199]]),
    np.array([0, 0, 1, 1]),
    np.array([False, False, False, True]),
    None,
    np.array([12.0, 90.0, np.nan, 5.0]),
)
FOUND = (
    np.array(
        [
            [0, 0, 40, 38],  # the car
            [0, 2, 40, 40],  # the car again: nothing is left for it
            [200, 0, 300, 90],  # the bus, as a car
            [10, 110, 50, 150],  # within what is ignored
            [300, 300, 350, 350],  # nothing
            [100, 0, 140, 20],  # below the score
        ],
        np.float32,
    ),
    np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.1], np.float32),
    np.array([0, 0, 0, 1, 1, 0]),
)


def test_what_is_taken_for_what() -> None:
    result = confusion([LABELS], [FOUND], CLASSES, 0.3)
    assert result['matrix'] == [[1, 0, 1], [1, 0, 0], [1, 1, 0]]
    heights = {row['from_px']: (row['labels'], row['recall']) for row in result['by_height']}
    assert heights[20] == (1, 0.0) and heights[32] == (1, 1.0) and heights[96] == (1, 0.0)
    distances = {row['from_m']: (row['labels'], row['recall']) for row in result['by_distance']}
    assert distances[10] == (1, 1.0) and distances[80] == (1, 0.0) and distances[0] == (0, None)


def test_a_label_goes_to_its_own_class_before_a_surer_other() -> None:
    found = (np.array([[0, 0, 40, 40]] * 2, np.float32), np.array([0.9, 0.4]), np.array([1, 0]))
    label = LABELS[np.array([0])]
    assert confusion([label], [found], CLASSES, 0.3)['matrix'] == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]


def test_nothing_labelled_and_nothing_found() -> None:
    none = LABELS[np.zeros(4, bool)]
    nothing = (np.zeros((0, 4), np.float32), np.zeros(0), np.zeros(0, int))
    result = confusion([none], [nothing], CLASSES, 0.3)
    assert result['by_height'] == result['by_distance'] == [] and not np.any(result['matrix'])
    assert confusion([LABELS], [nothing], CLASSES, 0.3)['matrix'][0] == [0, 0, 2]


def test_the_sheet_shows_the_worst() -> None:
    worst = WorstMisses(CLASSES, 0.3)
    picture = np.full((400, 400, 3), 90, np.uint8)
    empty = worst.sheet()
    for k in range(20):
        worst.add(f'picture {k}', picture, LABELS, FOUND)
    sheet = worst.sheet()
    assert sheet.shape == (2 * 32 + 6 * TILE[1], COLUMNS * TILE[0], 3)
    assert len(empty) == 64
    half = len(sheet) // 2
    for part, colour in ((sheet[:half], LABEL), (sheet[half:], DETECTION)):
        assert (part == colour).all(axis=2).sum() > 100


def test_evaluate_writes_figures_and_finds_what_it_says(tmp_path: Path) -> None:
    folder = write_labelled(tmp_path / 'w', cameras=2)
    out, report = tmp_path / 'out', tmp_path / 'f.json'
    data = ['--data', str(folder / 'labels.json')]
    assert main(['evaluate', *data, '--output', str(out), '--json', str(report)]) == 0
    assert {f.name for f in out.iterdir()} == {'confusion.png', 'recall.png', 'misses.jpg'}
    assert all(read_image(f).std() > 5 for f in out.iterdir())
    figures = json.loads(report.read_text())
    matrix = np.array(figures['confusion']['matrix'])
    labels = [row['labels'] for row in figures['per_class'].values()]
    assert matrix[:-1].sum(axis=1).tolist() == labels
    right = sum((r['recall'] or 0) * r['labels'] for r in figures['confusion']['by_height'])
    assert round(right) == np.trace(matrix[:-1, :-1])
