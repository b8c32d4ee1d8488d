"""SECURITY.md names what there is: parameters, options, variables, defaults and fuzz targets."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from yolox_trt_ros import image_files, yaml_files
from yolox_trt_ros.admission import allowance
from yolox_trt_ros.bags import limits
from yolox_trt_ros.cli.bag_limits import add_bag_limits
from yolox_trt_ros.core import layouts, model_file, model_limits, text_files
from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.messages import MOST_CLASSES
from yolox_trt_ros.core.parameters import table
from yolox_trt_ros.datasets import formats, voc
from yolox_trt_ros.detect import labels
from yolox_trt_ros.detect.cpu.decode import MOST_SCANS
from yolox_trt_ros.draw import boxes
from yolox_trt_ros.engine import cache
from yolox_trt_ros.report import usable
from yolox_trt_ros.ros.overlay import camera

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / 'SECURITY.md').read_text()
CODE = set(re.findall(r'`([^`\n]+)`', re.sub(r'```.*?```', '', TEXT, flags=re.DOTALL)))
MIB, GIB = 1 << 20, 1 << 30


def test_parameters_options_and_variables_exist() -> None:
    known = {row.name: row for row in table(Config)}
    named = {name for name in CODE if re.fullmatch(r'[a-z_<>]+(\.[a-z_<>]+)+', name)}
    named -= {'setup_env/wheels.lock', 'package.xml', 'yolox_trt_ros.testing'}
    assert named == {
        'cameras.<name>.max_megapixels', 'cameras.<name>.max_decode_ms', 'engines.trust_folder',
    }  # fmt: skip
    assert named <= known.keys()
    assert known['engines.trust_folder'].default is False
    assert known['cameras.<name>.max_decode_ms'].default == 150.0
    parser = argparse.ArgumentParser()
    add_bag_limits(parser)
    options = {name for name in CODE if name.startswith('--bag')}
    assert options == {o for o in parser._option_string_actions if o.startswith('--bag')}
    variables = {name for name in CODE if name.startswith('YOLOX_TRT_ROS_')}
    assert variables == {limits.MEMORY, limits.DISK, limits.TIME}


def test_figures_are_those_of_the_code() -> None:
    assert (allowance.TIMES, allowance.FEW_PIXELS, allowance.MOST_PIXELS) == (4, 4e6, 36e6)
    assert (layouts.MAX_SIDE, layouts.SLACK, MOST_SCANS) == (16384, 64 << 10, 100)
    assert (layouts.MOST_BYTES, layouts.TRAILER) == (8, 16 * MIB)
    assert limits.Limits().memory_bytes == 1024 * MIB
    assert (limits.UNPACKED_FREE_BYTES, limits.UNPACKED_RATIO) == (256 * MIB, 200)
    assert (limits.START_S, limits.SLOWEST_BYTES_PER_S) == (60.0, 4e6)
    assert (yaml_files.MOST_BYTES, yaml_files.DEEPEST) == (8 * MIB, 64)
    assert yaml_files.MOST_VALUES == 1_000_000
    assert (text_files.MOST_BYTES, formats.MOST_BYTES) == (64 * MIB, GIB)
    assert voc.MOST_BYTES == 64 * MIB
    assert (labels.MOST_BYTES, image_files.MOST_BYTES) == (MIB, GIB)
    assert (model_file.LARGEST, model_limits.MAX_TENSOR_BYTES) == (2 * GIB, 4 * GIB)
    assert (model_limits.MAX_BATCH, model_limits.MAX_SIDE) == (1024, 16384)
    assert cache.MOST_BYTES == 8 * GIB
    assert (boxes.MOST_DRAWN, camera.MOST_CLASSES) == (1000, 10_000)
    assert (usable.MOST_NAMES, usable.LONGEST_TEXT) == (64, 500)
    assert MOST_CLASSES == 65_536


def test_every_fuzz_target_is_named() -> None:
    sys.path.insert(0, str(ROOT / 'test' / 'fuzz'))
    from harness import targets

    rows = TEXT.partition('| targets |')[2].partition('\n\n')[0].splitlines()[2:]
    named = {name for row in rows for name in re.findall(r'`(\w+)`', row.split('|')[1])}
    assert named == set(targets())
