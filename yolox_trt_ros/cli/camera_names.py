"""Names for the cameras of a recording, from the names of their topics."""

from __future__ import annotations

import re
from collections.abc import Iterator

from yolox_trt_ros.core.config import MAX_CAMERAS

COMMON_PART = re.compile(
    r'image(_(raw|rect|color|mono|mono8))*(_compressed)?|compressed|foxglove|ffmpeg|camera'
)
"""Parts of a topic's name that tell nothing about which camera it is."""


def camera_names(topics: list[str]) -> Iterator[str]:
    """Yield a name for each image topic: the parts of its path that distinguish cameras."""
    paths = [[part for part in topic.split('/') if part] for topic in topics]
    shared = set(paths[0]).intersection(*paths[1:]) if len(paths) > 1 else set()
    taken: set[str] = set()
    for path in paths:
        own = [part for part in path if part not in shared and not COMMON_PART.fullmatch(part)]
        name = re.sub(r'\W', '_', '_'.join(own)) or 'camera'
        name = name if name[0].isalpha() else f'camera_{name.lstrip("_")}'
        free = next(n for n in _numbered(name) if n not in taken)
        taken.add(free)
        yield free


def _numbered(name: str) -> Iterator[str]:
    yield name
    yield from (f'{name}_{i}' for i in range(2, 2 + MAX_CAMERAS))
