"""Which memory and cores of the host lie next to a PCI device, as Linux says it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SYSFS = Path('/sys')


def pci_file(bus_id: str, name: str, root: Path = SYSFS) -> str:
    """Return what the kernel says of a PCI device; '' where it says nothing.

    Args:
        bus_id: such as ``0000:65:00.0``.
        name: of the file, such as ``current_link_width``.
        root: where sysfs is mounted.
    """
    try:
        return (root / 'bus/pci/devices' / bus_id.lower() / name).read_text().strip()
    except OSError:
        return ''


def numa_node(bus_id: str, root: Path = SYSFS) -> int | None:
    """Return the NUMA node that a PCI device sits at; None where there is one node, or none known.

    The kernel says -1 where the firmware does not tell.
    """
    node = pci_file(bus_id, 'numa_node', root)
    nodes = list((root / 'devices/system/node').glob('node[0-9]*'))
    return int(node) if len(nodes) > 1 and node.isdigit() else None


def cores_of(node: int, root: Path = SYSFS) -> set[int]:
    """Return the cores of a NUMA node; empty if the kernel does not say."""
    try:
        text = (root / f'devices/system/node/node{node}/cpulist').read_text().strip()
    except OSError:
        return set()
    cores: set[int] = set()
    for part in filter(None, text.split(',')):
        first, _, last = part.partition('-')
        cores.update(range(int(first), int(last or first) + 1))
    return cores


@contextmanager
def near(node: int | None) -> Iterator[None]:
    """Let the calling thread run on a node's cores: memory that it touches first then lies there.

    Where the process may use none of them, nothing changes.
    """
    before = os.sched_getaffinity(0)
    cores = cores_of(node) & before if node is not None else set()
    if not cores:
        yield
        return
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
