"""The files for RViz and Foxglove show every camera where the mosaic has it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from yolox_trt_ros.core.trace import STAGES
from yolox_trt_ros.draw.mosaic import layout
from yolox_trt_ros.vehicle_files import load_vehicle

CONFIG = Path(__file__).resolve().parents[3] / 'config'
CAMERAS = load_vehicle('orin_8cam').cameras
GRID = layout(CAMERAS)
MIDDLE = 'diagnostics'
BY_ROWS = [
    next((name for name, place in GRID.places.items() if place == (r, c)), MIDDLE)
    for r in range(GRID.rows)
    for c in range(GRID.columns)
]


def rviz() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((CONFIG / 'rviz' / 'orin_8cam.rviz').read_text())
    return content


def test_rviz_shows_every_overlay_and_the_states() -> None:
    displays = rviz()['Visualization Manager']['Displays']
    topics = {d['Name']: d['Topic']['Value'] for d in displays}
    assert topics == {
        **{c.name: f'/detector/{c.name}/overlay' for c in CAMERAS},
        MIDDLE: '/detector/overlay/status',
    }
    for display in displays:
        assert display['Class'] == 'rviz_default_plugins/Image'
        assert display['Enabled'] is True and display['Value'] is True


def test_rviz_knows_every_name_in_the_file() -> None:
    """Of plugins and properties, as ros2/rviz of 2024 declares them; it skips others silently."""
    manager = rviz()['Visualization Manager']
    assert [panel['Class'] for panel in rviz()['Panels']] == ['rviz_common/Displays']
    assert [tool['Class'] for tool in manager['Tools']] == ['rviz_default_plugins/MoveCamera']
    assert manager['Views']['Current']['Class'] == 'rviz_default_plugins/Orbit'
    assert manager['Global Options'].keys() <= {'Background Color', 'Fixed Frame', 'Frame Rate'}
    image = {'Normalize Range', 'Min Value', 'Max Value', 'Median window', 'Topic'}
    qos = {
        'Durability Policy': {'System Default', 'Transient Local', 'Volatile'},
        'History Policy': {'System Default', 'Keep Last', 'Keep All'},
        'Reliability Policy': {'System Default', 'Reliable', 'Best Effort'},
    }
    for display in manager['Displays']:
        assert display.keys() == image | {'Class', 'Enabled', 'Name', 'Value'}
        assert display['Topic'].keys() == qos.keys() | {'Depth', 'Value'}
        assert all(display['Topic'][policy] in known for policy, known in qos.items())


def test_rviz_has_its_panels_where_the_mosaic_has_its_tiles() -> None:
    window = rviz()['Window Geometry']
    # Qt saves docks by name, UTF-16, in the order of their rows and columns.
    state = bytes.fromhex(window['QMainWindow State'])
    places = {name: state.find(name.encode('utf-16-be') + b'\x01') for name in BY_ROWS}
    assert all(place > 0 for place in places.values())
    assert sorted(places, key=lambda name: places[name]) == BY_ROWS
    assert all(window[name] == {'collapsed': False} for name in BY_ROWS)


def foxglove() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((CONFIG / 'foxglove' / 'orin_8cam.json').read_text())
    return content


def test_lichtblick_has_the_same_in_nanoseconds() -> None:
    """Its message paths divide nothing, and it has another key for titles."""
    ours = (CONFIG / 'foxglove' / 'orin_8cam.json').read_text()
    theirs = (CONFIG / 'foxglove' / 'orin_8cam_lichtblick.json').read_text()
    for old, new in (
        ('.@div(1000000)', ''),
        (', ms"', ', ns"'),
        ('foxglovePanelTitle', 'lichtblickPanelTitle'),
    ):
        assert old in ours
        ours = ours.replace(old, new)
    assert theirs == ours


def leaves(node: Any) -> list[str]:
    if isinstance(node, str):
        return [node]
    assert node['direction'] in ('row', 'column') and 0 < node['splitPercentage'] < 100
    return leaves(node['first']) + leaves(node['second'])


def test_foxglove_shows_every_panel_once() -> None:
    content = foxglove()
    panels = leaves(content['layout'])
    assert sorted(panels) == sorted(content['configById'])
    assert [p.partition('!')[2] for p in panels[: len(BY_ROWS)]] == BY_ROWS
    images = {
        key.partition('!')[2]: panel['imageMode']['imageTopic']
        for key, panel in content['configById'].items()
        if key.startswith('Image!')
    }
    assert images == {c.name: f'/detector/{c.name}/overlay/compressed' for c in CAMERAS}


def test_foxglove_plots_fields_that_the_messages_have() -> None:
    from yolox_trt_ros.msg import CameraLatency, CameraStatus

    shown = set()
    for key, panel in foxglove()['configById'].items():
        for path in panel['paths'] if key.startswith('Plot!') else ():
            latency = re.fullmatch(
                r'/detector/(\w+)/latency\.(\w+)\.@div\(1000000\)', path['value']
            )
            if latency:
                assert latency[2] in CameraLatency.get_fields_and_field_types()
                shown.add((latency[1], latency[2]))
                continue
            status = re.fullmatch(
                r'/detector/status\.cameras\[:\]\{name=="(\w+)"\}\.(\w+)', path['value']
            )
            assert status and status[2] in CameraStatus.get_fields_and_field_types()
    assert shown >= {(c.name, 'age_ns') for c in CAMERAS}
    assert shown >= {('front_wide', f'{stage}_ns') for stage in STAGES}
