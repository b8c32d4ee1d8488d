"""Names of topics as ROS resolves them."""

from __future__ import annotations


def absolute(topic: str, node: str) -> str:
    """Return a topic's full name as a node resolves it.

    Args:
        topic: as a parameter gives it: absolute, relative to the namespace, or private (``~/…``).
        node: the node's fully qualified name, such as ``/car/detector``.
    """
    if topic.startswith('/'):
        return topic
    if topic.startswith('~'):
        return f'{node}/{topic.lstrip("~/")}'
    return f'{node.rpartition("/")[0]}/{topic}'
