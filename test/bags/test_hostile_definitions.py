"""Definitions, schemas and times of bags that are not what they should be."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import mcap_files as mcap
import pytest
from bag_files import MESSAGES, STRING, T0, text
from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat
from test_hostile_bags import read

from yolox_trt_ros.bags.definitions import Definitions
from yolox_trt_ros.bags.reader import Bag
from yolox_trt_ros.core.errors import BagError


@pytest.mark.parametrize(
    ('definition', 'words'),
    [
        ('B[1000000000] b\n====\nMSG: x_msgs/B\nuint8 x\n', 'elements'),
        ('string[1000000] names\n', 'elements'),
        ('float64[999999999999] x\n', 'elements'),
        ('A[] children\n', 'contains itself'),
        ('B b\n====\nMSG: x_msgs/B\nA a\n', 'contains itself'),
        ('int32 x\n' * 3000, 'cannot be read|fields'),
        ('int32 X=' + '9' * 5000 + '\n', 'cannot be read'),
        ('int32 x\n' * 200_000, 'cannot be read'),
        ('uint8[0] nothing\n', ''),
        ('B[] many\n====\nMSG: x_msgs/B\nuint8[0] nothing\n', 'sequence of empty messages'),
        (
            'B[1000] b\n'
            + ''.join(f'====\nMSG: x_msgs/{a}\n{b}[1000] b\n' for a, b in ('BC', 'CD', 'DE'))
            + '====\nMSG: x_msgs/E\nuint8 x\n',
            'elements',
        ),
        (
            'T0 t\n'
            + ''.join(f'====\nMSG: x_msgs/T{i}\nT{i + 1} t\n' for i in range(100))
            + '====\nMSG: x_msgs/T100\nuint8 x\n',
            'nested deeper',
        ),
    ],
)
def test_definitions_that_no_message_has_are_refused(definition: str, words: str) -> None:
    known = Definitions()
    content = definition.replace('====\n', '=' * 80 + '\n')
    known.give('x_msgs/msg/A', MessageDefinition(MessageDefinitionFormat.MSG, content))
    for attempt in range(2):
        with pytest.raises(BagError, match=words or '.'):
            known.read('x_msgs/msg/A', b'\0\1\0\0' + b'\xff' * (64 + attempt))
        if words:
            with pytest.raises(BagError, match=words):
                known.text_and_hash('x_msgs/msg/A')


def test_names_of_definitions_do_not_become_code(tmp_path: Path) -> None:
    mark = tmp_path / 'mark'
    code = f"x: open({str(mark)!r}, 'w') #"
    idl = f'module x_msgs {{ module msg {{ struct A {{ long {code}; }}; }}; }};'
    for kind, content in (
        (MessageDefinitionFormat.MSG, f'int32 {code}\n'),
        (MessageDefinitionFormat.IDL, idl),
        (MessageDefinitionFormat.MSG, f'string S="""{code}\nint32 x\n'),
    ):
        known = Definitions()
        known.give('x_msgs/msg/A', MessageDefinition(kind, content))
        with suppress(BagError):
            known.read('x_msgs/msg/A', b'\0\1\0\0' + bytes(8))
    assert not mark.exists()


def test_schemas_of_one_name_and_two_texts_are_reported(tmp_path: Path) -> None:
    inside = mcap.schema(1, STRING, 'ros2msg', 'string data\n')
    inside += mcap.schema(2, STRING, 'ros2msg', 'int32 data\n')
    inside += mcap.channel(1, 1, '/a') + mcap.channel(2, 2, '/b')
    inside += mcap.message(1, T0, text('one')) + mcap.message(2, T0, text('two'))
    path = tmp_path / 'a.mcap'
    path.write_bytes(mcap.header() + mcap.chunk(inside, T0, T0) + mcap.end())
    found, message = read(path)
    assert len(found) == 2 and 'std_msgs/msg/String has several definitions' in message


def test_messages_that_are_not_ros_are_named(tmp_path: Path) -> None:
    inside = mcap.schema(1, STRING, 'ros2msg', 'string data\n') + mcap.channel(1, 1, '/a')
    inside += mcap.schema(2, 'foxglove.Image', 'protobuf', 'x') + mcap.channel(
        2, 2, '/b', 'protobuf'
    )
    inside += mcap.message(1, T0, text('one')) + mcap.message(2, T0, b'two')
    path = tmp_path / 'a.mcap'
    path.write_bytes(mcap.header('') + mcap.chunk(inside, T0, T0) + mcap.end())
    found, message = read(path)
    assert found == [('/a', T0, text('one'))]
    assert '/b (1 messages) is left out: its messages are protobuf (foxglove.Image)' in message


@pytest.mark.parametrize('t_ns', [2**31 * 10**9, 2**63 - 1, 2**64 - 1])
def test_times_after_2038_are_counted(tmp_path: Path, t_ns: int) -> None:
    made = mcap.chunks([*MESSAGES, ('/a', t_ns, text('late'))])
    path = tmp_path / 'a.mcap'
    path.write_bytes(mcap.header() + b''.join(made) + mcap.end())
    found, message = read(path)
    assert found == MESSAGES and '1 messages with times after 2038' in message


def test_a_clock_that_jumped_is_reported(tmp_path: Path) -> None:
    made = mcap.chunks([('/a', 5, text('early')), *MESSAGES])
    path = tmp_path / 'a.mcap'
    path.write_bytes(mcap.header() + b''.join(made) + mcap.end())
    found, message = read(path)
    assert len(found) == 61 and 'days apart' in message


def test_damaged_results_are_counted_and_the_others_come(tmp_path: Path) -> None:
    bad = [(t, n, c if i % 3 else c[:7]) for i, (t, n, c) in enumerate(MESSAGES)]
    path = tmp_path / 'a.mcap'
    path.write_bytes(mcap.header() + b''.join(mcap.chunks(bad)) + mcap.end())
    with Bag(path) as bag:
        assert len(list(bag.parsed(['/a', '/b']))) == 40
        assert any('/a: 20 damaged messages are left out' in said for said in bag.warnings)
