from __future__ import annotations

import re
import threading
from pathlib import Path

import pytest

from yolox_trt_ros.core.threads import named_thread

PACKAGE = Path(__file__).resolve().parents[2] / 'yolox_trt_ros'


@pytest.mark.parametrize('name', ['lane gpu', 'a name of more than fifteen letters', 'späne'])
def test_the_system_knows_a_threads_name(name: str) -> None:
    seen: list[bytes] = []

    def look(more: str) -> None:
        number = threading.get_native_id()
        seen.append(Path(f'/proc/self/task/{number}/comm').read_bytes().rstrip(b'\n'))
        assert more == 'argument' and threading.current_thread().name == name

    thread = named_thread(look, name, ('argument',))
    assert thread.daemon
    thread.start()
    thread.join()
    assert seen == [name.encode()[:15]]


def test_no_part_of_the_node_starts_a_nameless_thread() -> None:
    for folder in ('bags', 'engine', 'ros', 'schedule', 'sim'):
        for file in (PACKAGE / folder).rglob('*.py'):
            assert not re.search(r'threading\.Thread\(', file.read_text()), file
