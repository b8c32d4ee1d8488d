"""Image messages through the C++ reader under sanitizers: test/ros/input/fuzz has the program."""

import sys
from pathlib import Path

from harness import Program

FUZZ = Path(__file__).resolve().parents[1] / 'ros' / 'input' / 'fuzz' / 'fuzz.py'

TARGETS = [
    Program(
        'image_reader',
        lambda inputs, seed: [sys.executable, str(FUZZ), f'--runs={inputs}', f'--seed={seed}'],
    )
]
