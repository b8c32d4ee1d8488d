"""Types that bags name are looked up among installed interfaces; nothing else is imported."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from sensor_msgs.msg import Image

from yolox_trt_ros.bags.reader import Topic
from yolox_trt_ros.core.errors import BagError, MissingDependencyError
from yolox_trt_ros.ros.message_types import message_class
from yolox_trt_ros.ros.replay.topics import MOST_DEPTH, recorded_qos


def test_a_module_of_the_name_of_a_type_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / 'acme_msgs'
    package.mkdir()
    for name in ('__init__', 'msg'):
        (package / f'{name}.py').write_text(f'raise SystemExit("{name} was imported")')
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop('this', None)
    for name in ('acme_msgs/msg/Rocket', 'this/msg/Zen', 'antigravity/msg/X', 'this/Zen'):
        with pytest.raises(MissingDependencyError, match=f'{name} is not installed'):
            message_class(name)
    assert 'this' not in sys.modules


@pytest.mark.parametrize('name', ['', 'a', 'a/b/c/d', 'os.path/msg/X', '../x/Y', 'a/msg/\x1b[2J'])
def test_names_that_are_none_are_refused(name: str) -> None:
    with pytest.raises(BagError, match='is not a message type') as message:
        message_class(name)
    assert str(message.value).isprintable()


def test_installed_types_are_found() -> None:
    assert message_class('sensor_msgs/msg/Image') is Image
    assert message_class('sensor_msgs/Image') is Image


def test_a_queue_of_a_billion_is_not_reserved() -> None:
    from yolox_trt_ros.bags.metadata import read_qos

    qos = read_qos([{'depth': 10**9, 'history': 1, 'reliability': 1, 'durability': 1}])
    assert recorded_qos(Topic('/a', 'a/msg/B', 1, qos, '')).depth == MOST_DEPTH
