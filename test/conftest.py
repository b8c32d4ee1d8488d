"""Fixtures that tests of several folders share."""

import os
from pathlib import Path

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parents[1]
REAL = Path(os.environ.get('YOLOX_TRT_ROS_REAL') or ROOT.parent / 'shared' / 'real')

# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile('untimed', deadline=None)
hypothesis.settings.load_profile('untimed')


@pytest.fixture(scope='session')
def real() -> Path:
    """Return the folder with a trained model, photographs and what is to be found in them."""
    if not (REAL / 'reference_detections.json').is_file():
        pytest.skip(f'no real model and photographs at {REAL} (set YOLOX_TRT_ROS_REAL)')
    return REAL
