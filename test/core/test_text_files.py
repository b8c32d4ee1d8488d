"""Foreign text files: what is damaged or hostile is refused in one sentence."""

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolox_trt_ros.core.errors import ConfigError, ModelError, YoloxTrtRosError
from yolox_trt_ros.core.output_files import write_whole
from yolox_trt_ros.core.printing import one_line, printable, shown
from yolox_trt_ros.core.text_files import parse_json, read_bytes, read_json, read_text
from yolox_trt_ros.engine.trust import read_own
from yolox_trt_ros.yaml_files import parse_yaml, read_yaml

BOMB = 'a: &a [x,x,x,x,x,x,x,x,x,x]\n' + '\n'.join(
    f'{b}: &{b} [{",".join([f"*{a}"] * 10)}]' for a, b in zip('abcdefgh', 'bcdefghi', strict=True)
)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('day: 2020-01-01', 'line 1.*"2020-01-01" is a date.*quotes'),
        ('\nn: ' + '9' * 5000, 'line 2.*5000 digits is too large'),
        ('n: 0x' + 'f' * 5000, 'too large'),
        ('n: ' + '[' * 5000, 'nested more than 64'),
        ('n: ' + '{a: ' * 5000, 'nested more than 64'),
        ('n: &x [*x]', r'\*x stands inside'),
        ('n: *x', r'\*x refers to nothing'),
        (BOMB + '\n', 'more than 1,000,000 values'),
        ('a: 1\nb: 2\na: 3', 'line 3: the key "a" is given twice'),
        ('a:\n  b: 1\n  b: 1', 'line 3: the key "b" is given twice'),
        ('- 1', 'expected keys and values, got a list'),
        ('just text', 'expected keys and values, got text'),
        ('n: .nan', 'finite'),
        ('n: -.inf', 'finite'),
        ('n: 1.0e+999', 'finite'),
        ('n: 1:30', 'base 60'),
        ('n: !!python/object:os.system x', 'tag .* not known'),
        ('n: !!binary aGk=', 'tag .* not known'),
        ('n: !!int x', 'no value of the tag'),
        ('? [1]\n: 2', 'as a key, got a list'),
        ('a: 1\n---\nb: 1', 'second'),
        ('a: "x', 'line 1.*not YAML'),
        ('a: b: c', 'line 1: not YAML'),
        ('a: \x1b[31m', 'not YAML'),
        ('a: \ud800', 'not YAML'),
        ('<<: 3', 'expected keys and values'),
    ],
)
def test_yaml_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        parse_yaml(text, 'file', ModelError)
    assert str(caught.value).startswith('file') and '\n' not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_yaml_that_people_write_is_read() -> None:
    text = (
        'b: &b {x: 1, y: [1.5, -2, +3]}\na: {<<: *b, y: yes}\nn: ~\nh: 0x1F\nt: "2020-01-01"\n'
        'm: 1_000\nf: .5\n3: three\ne: 1.0e-3\nlist: [*b]'
    )
    assert parse_yaml(text, 'file') == {
        'b': {'x': 1, 'y': [1.5, -2, 3]}, 'a': {'x': 1, 'y': True}, 'n': None, 'h': 31,
        't': '2020-01-01', 'm': 1000, 'f': 0.5, 3: 'three', 'e': 0.001,
        'list': [{'x': 1, 'y': [1.5, -2, 3]}],
    }  # fmt: skip
    assert parse_yaml('', 'file') == parse_yaml('# nothing', 'file') == {}


def test_aliases_are_refused_where_ros_knows_none() -> None:
    with pytest.raises(ConfigError, match='file, line 1: ROS 2 reads no anchors'):
        parse_yaml('a: &a 1', 'file', aliases=False)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('{"a": 1, "a": 2}', 'line 1: the key "a" is given twice'),
        ('{"x": [{"a": 1},\n{"a": 1,\n"a": 2}]}', 'line 2: the key "a" is given twice'),
        ('[]', 'expected an object.*got a list'),
        ('', 'line 1: not JSON'),
        ('{"a": 1,}', 'line 1: not JSON'),
        ('{"a": NaN}', 'finite'),
        ('{"a": -Infinity}', 'finite'),
        ('{"a": 1e999}', 'finite'),
        (f'{{"a": {"9" * 5000}}}', '5000 digits is too large'),
        (f'{{"a": {"[" * 100_000}', 'nested too deeply'),
        (f'{{"a": {"[" * 100_000}{"]" * 100_000}}}', 'nested too deeply'),
        ('{"a": "\\ud800"}', 'which is not a character'),
    ],
)
def test_json_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        parse_json(text, 'file', ModelError)
    assert '\n' not in str(caught.value) and str(caught.value).startswith('file')


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)  # fmt: skip


@given(st.dictionaries(st.text(), JSON, max_size=3))
def test_json_says_what_json_says(content: dict[str, Any]) -> None:
    text = json.dumps(content)
    assert parse_json(text, 'file') == json.loads(text)


@given(st.text() | st.text(alphabet='[]{}:,-&*!|>%@`"\'#?<\n\t .~0123456789aexy_'))
def test_no_text_gives_another_exception(text: str) -> None:
    for parse in (parse_yaml, parse_json):
        try:
            parse(text, 'file')
        except ConfigError as error:
            assert '\n' not in str(error)


def test_what_is_no_regular_file_is_named(tmp_path: Path) -> None:
    pipe = tmp_path / 'pipe'
    os.mkfifo(pipe)
    for path, message in (
        (pipe, 'got a pipe'), (tmp_path, 'got a folder'), (Path('/dev/zero'), 'got a device'),
        (tmp_path / 'nothing', 'No such file'), (Path('a\0b'), 'not a file name'),
        (tmp_path / 'x' / os.fsdecode(b'\xff'), r'x/\\xff: cannot be read'),
    ):  # fmt: skip
        for read in (read_yaml, read_json, read_text, read_bytes):
            with pytest.raises(ConfigError, match=message):
                read(path)


def test_size_and_encoding_are_checked(tmp_path: Path) -> None:
    file = tmp_path / 'file'
    for content, message in (
        (b'a: \xff', 'line 1: expected UTF-8, got the byte 0xff'),
        (b'\n\na: \xe4', 'line 3: expected UTF-8'),
        ('a: 1'.encode('utf-16'), 'got UTF-16'),
        (b'a' * 101, 'at most 9.53674e-05 MiB'),
    ):
        file.write_bytes(content)
        for read in (read_yaml, read_json):
            with pytest.raises(ConfigError, match=message):
                read(file, most_bytes=100)
    file.write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_yaml(file) == read_json(file) == {'a': 1}


@given(st.text(alphabet=st.characters()))
def test_foreign_strings_move_no_cursor(text: str) -> None:
    for message in (printable(text), one_line(text), shown(text), shown([{text: text}])):
        message.encode()
        assert not any((ord(c) < 32 and c not in '\n\t') or 127 <= ord(c) < 160 for c in message)
    assert '\n' not in one_line(text) + shown(text)


def test_values_are_shown_short() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    for value in (deep, 'x' * 10**6, 10**5000, [1] * 1000, dict.fromkeys(range(1000)), {'a' * 999}):
        assert len(shown(value)) <= 80
    assert shown('a\nb\x1b[1m') == r'"a\nb\x1b[1m"' and shown(os.fsdecode(b'\xff')) == r'"\xff"'
    assert shown([1, 'a', {'b': None}]) == '[1, "a", {"b": None}]'


def test_files_are_written_whole(tmp_path: Path) -> None:
    file = tmp_path / 'new' / 'file'
    write_whole(file, 'one')
    link = tmp_path / 'link'
    link.symlink_to(file)
    file.chmod(0o600)
    write_whole(link, 'two')
    assert link.is_symlink() and file.read_text() == 'two' and file.stat().st_mode & 0o777 == 0o600
    assert list(file.parent.iterdir()) == [file]
    write_whole(Path('/dev/null'), 'three')
    assert Path('/dev/null').is_char_device()
    with pytest.raises(YoloxTrtRosError, match='/dev/full: cannot be written: No space left'):
        write_whole(Path('/dev/full'), 'x')
    with pytest.raises(YoloxTrtRosError, match='file/x: cannot be written'):
        write_whole(file / 'x', 'x')


def test_a_small_file_takes_little_memory_whatever_may_be_read(tmp_path: Path) -> None:
    file = tmp_path / 'small'
    file.write_bytes(b'x' * 100_000)
    for read in (
        lambda: read_bytes(file, most_bytes=1 << 33),
        lambda: read_own(file, 1 << 33, True),
    ):
        tracemalloc.start()
        try:
            assert len(read()) == 100_000
            assert tracemalloc.get_traced_memory()[1] < 1 << 20
        finally:
            tracemalloc.stop()
    assert read_bytes(Path('/proc/self/status')), 'which shows no size'
    with pytest.raises(ConfigError, match=r'at most 0\.0'):
        read_bytes(file, most_bytes=99_999 // 2)
