"""Damaged messages through the middleware, a few in CI; ``make fuzz`` sends more."""

from __future__ import annotations

import pytest
from harness import run, targets


@pytest.mark.ros
@pytest.mark.parametrize('name', ['wire_native', 'wire_plain'])
def test_sound_images_come_through_among_damaged_ones(name: str) -> None:
    result = run(targets()[name], 20)
    assert result.clean, result.findings
    assert result.inputs == 20
