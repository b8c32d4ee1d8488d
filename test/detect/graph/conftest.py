"""What the tests of graphs' ends have in common."""

import numpy as np
import pytest


@pytest.fixture(scope='module')
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (100, 150, 3), np.uint8)
