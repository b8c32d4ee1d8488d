"""A few inputs of every target in CI; ``make fuzz`` runs as many as one likes."""

from __future__ import annotations

import pytest
from harness import Target, run, targets

TARGETS = {
    name: target
    for name, target in targets().items()
    if isinstance(target, Target) and not name.startswith('wire')  # those start nodes
}
FEW, MANY = 30, 100


@pytest.mark.parametrize('name', TARGETS)
def test_no_finding(name: str) -> None:
    target = TARGETS[name]
    inputs = min(MANY, max(FEW, round(10_000 * target.share)))
    result = run(target, inputs)
    assert result.clean, result.findings
    assert result.inputs == inputs
