"""One peer for all tests between processes."""

from collections.abc import Iterator

import pytest
from peer import Peer


@pytest.fixture(scope='session')
def peer() -> Iterator[Peer]:
    node = Peer()
    yield node
    node.close()
