"""Class names, as people keep them in files."""

from pathlib import Path

import pytest

from yolox_trt_ros.core.errors import ModelError
from yolox_trt_ros.detect.labels import read_labels

GOOD = {
    'plain': ('l.txt', b'car\nbus\n'),
    'byte order mark': ('l.txt', b'\xef\xbb\xbfcar\nbus\n'),
    'Windows': ('coco.names', b'car\r\nbus\r\n\r\n\r\n'),
    'comments': ('l.txt', b'# classes\ncar\n  bus\n\n'),
    'YAML list': ('l.yaml', b'names: [car, bus]'),
    'Ultralytics': ('data.yaml', b'path: ../x\nnc: 2\nnames:\n  0: car\n  1: bus\n'),
    'byte order mark in YAML': ('l.yml', b'\xef\xbb\xbfclasses:\r\n- car\r\n- bus\r\n'),
}


@pytest.mark.parametrize(('name', 'content'), GOOD.values(), ids=GOOD)
def test_read(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert read_labels(tmp_path / name) == ('car', 'bus')


BAD = {
    'empty': ('l.txt', b'\n\n', 'expected one class name a line, got none'),
    'UTF-16': ('l.txt', 'car\nbus'.encode('utf-16'), 'expected UTF-8.* got UTF-16'),
    'UTF-16 without mark': ('l.txt', 'car\nbus'.encode('utf-16-le'), 'NUL characters'),
    'Latin-1': ('l.txt', b'B\xfcs', 'expected UTF-8'),
    'too large': ('l.txt', b'x' * (1 << 21), 'at most 1 MiB'),
    'gap': ('l.yaml', b'names: {0: car, 2: bus}', 'numbered from 0 on without a gap'),
    'number': ('l.yaml', b'names: [car, 1]', 'names that are texts'),
    'truth value': ('l.yaml', b'names: [car, no]', 'in quotes'),
    'no list': ('l.yaml', b'names: car', 'expected a list of class names'),
    'other keys': ('l.yaml', b'path: x', 'under one of names, labels, classes'),
    'damaged': ('l.yaml', b'names: [', 'not YAML'),
    'twice': ('l.yaml', b'names: [a]\nnames: [b]', 'given twice'),
    'deep': ('l.yaml', b'names: ' + b'[' * 5000, 'nested'),
    'itself': ('l.yaml', b'names: &a [*a]', 'stands inside'),
    'long number': ('l.yaml', b'names: [' + b'9' * 5000 + b']', 'too large'),
}


@pytest.mark.parametrize(('name', 'content', 'message'), BAD.values(), ids=BAD)
def test_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=message) as caught:
        read_labels(tmp_path / name)
    assert '\n' not in str(caught.value)


def test_missing(tmp_path: Path) -> None:
    (tmp_path / 'coco.txt').touch()
    with pytest.raises(ModelError, match=r'does not exist — did you mean "coco\.txt"'):
        read_labels(tmp_path / 'coc.txt')
    with pytest.raises(ModelError, match='got a folder'):
        read_labels(tmp_path)
