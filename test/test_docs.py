"""The documents say what the code does, and their links lead somewhere."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from diagnostic_msgs.msg import DiagnosticStatus

from yolox_trt_ros.core.config import CameraConfig, CameraSimConfig, LimitsConfig, RigConfig
from yolox_trt_ros.core.errors import DropReason
from yolox_trt_ros.core.snapshot import CameraSnapshot, LaneSnapshot, LaneState, PipelineSnapshot
from yolox_trt_ros.core.trace import STAGES
from yolox_trt_ros.ros.input.intake import IngestNotes
from yolox_trt_ros.ros.status import camera_diagnostic, lane_diagnostic
from yolox_trt_ros.telemetry.health import CameraNumbers, camera_health, lane_health
from yolox_trt_ros.telemetry.report import Telemetry
from yolox_trt_ros.tools.parameters import reference
from yolox_trt_ros.yaml_files import read_yaml

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [
    *(ROOT / name for name in ('README.md', 'CONTRIBUTING.md', 'SECURITY.md')),
    *sorted((ROOT / 'docs').rglob('*.md')),
]
DIAGNOSTICS = (ROOT / 'docs' / 'diagnostics.md').read_text()


def test_parameters_are_those_of_the_code() -> None:
    written = (ROOT / 'docs' / 'parameters.md').read_text()
    assert written == reference(), (
        'write it again: python -m yolox_trt_ros parameters > docs/parameters.md'
    )


def anchors(document: Path) -> set[str]:
    """Return what a link may have behind its #, as GitHub makes it from headings."""
    headings = re.findall(r'^#+ (.*)$', document.read_text(), flags=re.MULTILINE)
    return {re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-') for heading in headings}


@pytest.mark.parametrize('document', DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    text = re.sub(r'```.*?```', '', document.read_text(), flags=re.DOTALL)
    for target, anchor in re.findall(r'\]\(([^)#\s]*)#?([^)\s]*)[^)]*\)', text):
        if not target.startswith(('http://', 'https://')):
            file = document.parent / target if target else document
            assert file.exists(), f'{document.name} links to {target}'
            assert not anchor or anchor in anchors(file), f'{document.name}: {target}#{anchor}'


def section(title: str) -> list[list[str]]:
    """Return the rows of the table below a heading of docs/diagnostics.md."""
    body = DIAGNOSTICS.partition(f'## {title}\n')[2].partition('\n## ')[0]
    lines = [line for line in body.splitlines() if line.startswith('| ')]
    return [[cell.strip() for cell in line.strip('|').split(' | ')] for line in lines[1:]]


def keys(title: str) -> set[str]:
    """Return the names in code in the first column of a table."""
    return {name for row in section(title) for name in re.findall(r'`([^`]+)`', row[0])}


def empty(cls: type, **given: Any) -> Any:
    nothing = {'str': '', 'int': 0, 'float': 0.0, 'int | None': None, 'tuple[str, ...]': ()}
    return cls(**{f.name: given.get(f.name, nothing.get(str(f.type), {})) for f in fields(cls)})


def statuses() -> tuple[DiagnosticStatus, DiagnosticStatus]:
    camera = empty(CameraSnapshot, name='a', dropped=dict.fromkeys(DropReason, 0))
    costs = {'cost_ns': {4: 7}, 'other_cost_ns': {'rear': {4: 7}}}
    lane = empty(LaneSnapshot, name='gpu', state=LaneState.RUNNING, **costs)
    config = CameraConfig('a', RigConfig(), CameraSimConfig())
    snapshot = PipelineSnapshot(1, (camera,), (lane,), 'reason')
    report = Telemetry([config], LimitsConfig()).report(snapshot)
    return (
        camera_diagnostic('/detector', report.cameras[0], IngestNotes()),
        lane_diagnostic('/detector', report.lanes[0]),
    )


def test_every_name_and_key_of_the_diagnostics_is_explained() -> None:
    camera, lane = statuses()
    named = {name.replace('<camera>', 'a').replace('<lane>', 'gpu') for name in keys_of_names()}
    assert named == {camera.name, lane.name, '/detector: node'}
    documented = keys('Values of a camera') - ({*STAGES} - {'video'})  # a value and a stage
    documented -= {'dropped, <reason>', '<stage> p50/p95/p99 (ms)'}
    documented |= {f'dropped, {reason}' for reason in keys('Why an image was dropped')}
    documented |= {f'{stage} p50/p95/p99 (ms)' for stage in STAGES}
    assert documented == {value.key for value in camera.values}
    lane_keys = keys('Values of a lane')
    of_lane = {key.replace('<n>', '4').replace('<model>', 'rear') for key in lane_keys}
    assert of_lane == {value.key for value in lane.values}


def test_the_tree_for_an_aggregator_holds_each_status_once() -> None:
    file = ROOT / 'config' / 'diagnostics' / 'aggregator.yaml'
    content = read_yaml(file, aliases=False)['analyzers']['ros__parameters']
    branches = content['detector']['analyzers']
    for status, branch in (
        (statuses()[0].name, 'cameras'),
        (statuses()[1].name, 'lanes'),
        ('/detector: node', 'node'),
    ):
        found = [
            name
            for name, given in branches.items()
            if status in given.get('name', ())
            or status.startswith(tuple(given.get('find_and_remove_prefix', '\0')))
            or any(re.fullmatch(pattern, status) for pattern in given.get('regex', ()))
        ]
        assert found == [branch]


def keys_of_names() -> list[str]:
    return re.findall(r'^\| `(/detector: [^`]+)` \|', DIAGNOSTICS, re.MULTILINE)


FINE = CameraNumbers(
    10.0,
    2000.0,
    50.0,
    True,
    60.0,
    5.0,
    10.0,
    10.0,
    50,
    dict.fromkeys(DropReason, 0),
    23.1,
    0.0,
    0,
    'gpu',
)
LATE = {'late': 4, 'deadline_ms': 100.0}
AROUND = ('2 publishers on', 'are 60.0 min ahead', 'MiB of shared memory')
"""Rows of what is known around a camera; tested where it is found out."""
CASES = [
    {'silent_ms': 3200.0},
    {'lane': ''},
    {'p95_ms': 1250.0},
    {'p95_ms': 250.0},
    {'received': 44, 'dropped': {DropReason.REPLACED: 41}},
    {'received': 49, 'dropped': {DropReason.REPLACED: 17}},
    {'rate_in_hz': 6.1},
    {'rate_in_hz': 20.0},
    LATE,
    {},
]


def test_levels_of_a_camera_are_as_the_table_says() -> None:
    rows = section('Level of a camera')
    rows = [row for row in rows if not any(text in row[2] for text in AROUND)]
    assert len(rows) == len(CASES)
    for (level, _, message), case in zip(rows, CASES, strict=True):
        health = camera_health(replace(FINE, **case), LimitsConfig())
        assert health.level.name == level
        assert (
            message.split('`')[1] in health.message if '`' in message else message in health.message
        )


def test_levels_of_a_lane_are_as_the_table_says() -> None:
    table = {row[1].strip('`'): row[0] for row in section('Level of a lane')}
    assert table == {
        state.value: lane_health(empty(LaneSnapshot, state=state), 0.5).level.name
        for state in LaneState
    }
