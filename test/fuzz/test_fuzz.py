"""A few inputs of every target in CI; ``make fuzz`` runs as many as one likes."""

from __future__ import annotations

import pytest
from harness import Target, run, targets

TARGETS = {
    name: target
    for name, target in targets().items()
    if isinstance(target, Target) and not name.startswith('bag')
}


@pytest.mark.parametrize('name', TARGETS)
def test_no_finding(name: str) -> None:
    result = run(TARGETS[name], 300, seconds=0.8, jobs=2)
    assert result.clean, result.findings
    assert result.inputs
