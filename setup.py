"""Installation with pip: the Python part and the ament index entry, without built messages.

A ROS 2 workspace builds this package with CMakeLists.txt instead.
"""

import re
from pathlib import Path

from setuptools import setup

NAME = 'yolox_trt_ros'


def version():
    """Return the version that package.xml says, the one place of it."""
    return re.search(r'<version>(.+?)</version>', Path('package.xml').read_text('utf-8')).group(1)


def shared_files():
    """Return what goes to share/yolox_trt_ros, folder by folder; no figures of tests."""
    folders = {}
    for top in ('config', 'launch', 'models'):
        for path in Path(top).rglob('*'):
            if path.is_file() and path.suffix not in ('.npy', '.pyc'):
                folders.setdefault(f'share/{NAME}/{path.parent}', []).append(str(path))
    return list(folders.items())


setup(
    version=version(),
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{NAME}']),
        (f'share/{NAME}', ['package.xml']),
        (f'lib/{NAME}', [str(path) for path in Path('scripts').iterdir()]),
        *shared_files(),
    ],
)
