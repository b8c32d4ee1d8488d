"""One peer for all tests between processes."""

from collections.abc import Iterator

import pytest
from peer import Peer


@pytest.fixture(scope='session')
def shared_peer() -> Iterator[Peer]:
    node = Peer()
    yield node
    node.close()


@pytest.fixture(scope='module')
def peer(shared_peer: Peer) -> Iterator[Peer]:
    yield shared_peer
    shared_peer.forget()
