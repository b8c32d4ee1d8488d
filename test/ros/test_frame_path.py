"""The table of a frame's path in docs/architecture.md: short, and true."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from peer import DOMAIN

import yolox_trt_ros

HERE = Path(__file__).parent
PACKAGE = Path(yolox_trt_ros.__file__).parent
MOST_NAMED = 20
MOST_PASSED = 26
"""Files of which a function is called for a frame, those that only serve others included."""


def named() -> list[str]:
    """Return the Python files that the table names."""
    text = (HERE.parents[1] / 'docs' / 'architecture.md').read_text('utf-8')
    section = text.partition('\n## The path of a frame\n')[2].partition('\n## ')[0]
    rows = [line for line in section.splitlines() if line.startswith('| ')]
    return re.findall(r'`([\w/]+\.py)`', '\n'.join(rows))


def test_the_table_names_few_files_and_none_twice() -> None:
    files = named()
    assert 10 < len(files) <= MOST_NAMED
    assert len(set(files)) == len(files)
    assert [file for file in files if not (PACKAGE / file).is_file()] == []


@pytest.mark.ros
@pytest.mark.timeout(400)
def test_an_image_passes_the_files_of_the_table(tmp_path: Path) -> None:
    command = [sys.executable, str(HERE / 'frame_path.py'), str(tmp_path)]
    environ = {**os.environ, 'PYTHONPATH': str(HERE.parent), 'ROS_DOMAIN_ID': str(DOMAIN)}
    environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, env=environ)
    assert done.returncode == 0, done.stderr[-2000:]
    messages = json.loads(done.stdout.splitlines()[-1])
    assert messages['answered'] == 2
    passed = {file for file in messages['files'] if not file.startswith(('core/', 'msg/'))}
    assert set(named()) <= passed
    assert len(passed) <= MOST_PASSED, sorted(passed - set(named()))
