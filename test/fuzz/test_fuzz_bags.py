"""A few hundred hostile bags in CI; ``make fuzz ARGS=bags`` runs as many as one likes."""

from __future__ import annotations

import pytest
from harness import Target, run, targets

BAGS = {name: target for name, target in targets().items() if name.startswith('bag')}


@pytest.mark.parametrize('name', BAGS)
def test_no_finding(name: str) -> None:
    target = BAGS[name]
    assert isinstance(target, Target)
    result = run(target, 400, seconds=4.0, jobs=2)
    assert result.clean, result.findings
    assert result.inputs
