"""Recognise files that are given as models but are none, before they are parsed."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from yolox_trt_ros.core.errors import ModelError, did_you_mean

LARGEST = 2**31
"""Bytes of an ONNX file: no protobuf message is larger; weights beyond that lie beside it."""

_EXPORT = 'export it as ONNX (Megvii YOLOX: `tools/export_onnx.py`) and give that file'
_CONVERT = 'make ONNX of .cfg and .weights: python -m yolox_trt_ros models convert CFG WEIGHTS'
_UNPACK = 'unpack it and give the .onnx in it'
_TORCH = f'a PyTorch checkpoint: it has weights and no graph; {_EXPORT}'
_ENGINE = (
    'a TensorRT engine, which fits one GPU and one TensorRT only: give the ONNX file it was built '
    'from; the engine is built from that, and kept'
)
_OPENVINO = f'an OpenVINO model: {_EXPORT}'

# What a file begins with, or has at an offset, and what it then is.
_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (
        0,
        b'version https://git-lfs.github.com/',
        'a Git LFS pointer, not the model itself: run `git lfs pull` in its repository',
    ),
    (0, b'/annex/objects/', 'a git-annex pointer, not the model itself: run `git annex get`'),
    (0, b'ftrt', _ENGINE),
    (4, b'TFL3', f'a TensorFlow Lite model: {_EXPORT}'),
    (4, b'ORTM', 'a model in the ORT format of ONNX Runtime: give the .onnx it was made from'),
    (0, b'\x89HDF', f'an HDF5 file, as Keras writes models: {_EXPORT}'),
    (0, b'RKNN', f'a model for Rockchip NPUs: {_EXPORT}'),
    (0, b'7767517', f'an ncnn model: {_EXPORT}'),
    (0, b'\x1f\x8b', f'a gzip archive: {_UNPACK}'),
    (0, b'\x28\xb5\x2f\xfd', f'a Zstandard archive: {_UNPACK}'),
    (0, b'\xfd7zXZ', f'an xz archive: {_UNPACK}'),
    (0, b'BZh', f'a bzip2 archive: {_UNPACK}'),
    (0, b'7z\xbc\xaf', f'a 7-Zip archive: {_UNPACK}'),
    (257, b'ustar', f'a tar archive: {_UNPACK}'),
    (0, b'\x89PNG', 'a PNG image'),
    (0, b'\xff\xd8\xff', 'a JPEG image'),
)
# By suffix where the content says nothing, and it did not read as ONNX.
_SUFFIXES = {
    **dict.fromkeys(('.engine', '.plan', '.trt'), _ENGINE),
    **dict.fromkeys(('.pt', '.pth', '.pkl', '.ckpt', '.tar'), _TORCH),
    '.safetensors': f'a safetensors file: it has weights and no graph; {_EXPORT}',
    '.tflite': f'a TensorFlow Lite model: {_EXPORT}',
    '.pb': f'a TensorFlow graph: {_EXPORT}',
    '.weights': f'darknet weights: {_CONVERT}',
    '.bin': f'weights of an OpenVINO or ncnn model: {_EXPORT}',
    '.data': 'the weights of an ONNX model: give the .onnx beside it',
}
_READ = 1024


def check_model_file(path: Path) -> None:
    """Refuse a file that can be seen to be no ONNX model without parsing it.

    Args:
        path: as the user gave it.

    Raises:
        ModelError: it is missing, no regular file, unreadable, empty, too large, or another kind
            of file; says which, and what to do.
    """
    begin, size = _beginning(path)
    if not size:
        raise ModelError(
            f'{path}: expected an ONNX model, got an empty file: copy or download it again'
        )
    if kind := _kind(begin):
        raise ModelError(f'{path}: expected an ONNX model, got {kind}')
    if size > LARGEST:
        raise ModelError(
            f'{path}: expected an ONNX model of at most 2 GiB, got {size} bytes: larger ones keep '
            'their weights in a file beside them'
        )


def unparsable(path: Path, error: object) -> ModelError:
    """Return the error for a file that a parser refused."""
    kind = _SUFFIXES.get(path.suffix.lower())
    if not kind and _is_text(_beginning(path)[0]):
        kind = 'a text file: give the .onnx'
    if not kind:
        why = '' if 'DecodeError' in type(error).__name__ else f' ({first_line(error)})'
        kind = (
            f'{path.stat().st_size} bytes that are cut off, damaged or of another kind{why}: copy '
            'or download the file again and compare its size'
        )
    return ModelError(f'{path}: expected an ONNX model, got {kind}')


def check_external_data(path: Path, model: Any) -> None:
    """Refuse a model whose weights are not all in the files it names.

    Args:
        path: the ONNX file.
        model: ``onnx.ModelProto`` of it, external data not loaded.

    Raises:
        ModelError: names the file that is missing, cut off, or lies outside the model's folder.
    """
    needed: dict[str, int] = {}
    for tensor in model.graph.initializer:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        if location := entries.get('location'):
            numbers = [entries.get(key, '0') for key in ('offset', 'length')]
            if not all(re.fullmatch(r'\d{1,18}', number) for number in numbers):
                raise ModelError(
                    f'{path}: weight {tensor.name}: its place in {location} is damaged'
                )
            needed[location] = max(needed.get(location, 0), sum(map(int, numbers)))
    for location, size in needed.items():
        if Path(location).is_absolute() or '..' in Path(location).parts:
            raise ModelError(f'{path}: its weights lie outside its folder, in {location}: refused')
        file = path.parent / location
        if not file.is_file():
            raise ModelError(
                f'{path}: its weights lie in a file beside it, {location}, which is not there: '
                'copy that file along with the model'
            )
        if file.stat().st_size < size:
            raise ModelError(
                f'{file}: expected at least {size} bytes of weights for {path.name}, got '
                f'{file.stat().st_size}: copy it again'
            )


def first_line(error: object) -> str:
    """Return an error's first line that says something, for the end of a sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__


def _beginning(path: Path) -> tuple[bytes, int]:
    """Return a regular file's first bytes and its size."""
    try:
        # A pipe would be waited for; it is found out and closed.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise _missing(path) from error
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise ModelError(f'model file {path} cannot be read: {why}') from error
    try:
        state = os.fstat(handle)
        if stat.S_ISDIR(state.st_mode):
            raise ModelError(
                f'{path}: expected an ONNX file, got a folder{_listed(_onnx_files(path))}'
            )
        if not stat.S_ISREG(state.st_mode):
            raise ModelError(f'{path}: expected an ONNX file, got a pipe or a device')
        return os.read(handle, _READ), state.st_size
    finally:
        os.close(handle)


def _missing(path: Path) -> ModelError:
    if path.is_symlink():
        return ModelError(f'model file {path} is a link to {os.readlink(path)}, which is not there')
    return ModelError(
        f'model file {path} does not exist{did_you_mean(path.name, _onnx_files(path.parent))}'
    )


def _onnx_files(folder: Path) -> list[str]:
    try:
        return sorted(file.name for file in folder.glob('*.onnx'))
    except OSError:
        return []


def _is_text(begin: bytes) -> bool:
    # A whole message may begin with text only, but has bytes below a space soon.
    return not any(byte < 32 and byte not in b'\t\n\r\f' for byte in begin)


def _listed(names: Iterable[str]) -> str:
    found = ', '.join(names)
    return f' that holds {found}' if found else ' without one'


def _kind(begin: bytes) -> str:
    """Return what a file with this beginning is and what to do; '' if it may be ONNX."""
    for offset, magic, kind in _MAGIC:
        if begin.startswith(magic, offset):
            return kind
    if begin.startswith(b'PK\x03\x04'):
        name = begin[30 : 30 + int.from_bytes(begin[26:28], 'little')]
        torch = name.endswith((b'data.pkl', b'.format_version', b'.storage_alignment', b'/version'))
        return _TORCH if torch else f'a ZIP archive: {_UNPACK}'
    if begin[:1] == b'\x80' and begin[2:3] in (b'\x8a', b'}', b'c', b'\x95', b'(', b']'):
        return _TORCH
    if begin[8:10] == b'{"' and int.from_bytes(begin[:8], 'little') < 2**32:
        return _SUFFIXES['.safetensors']
    text = begin.removeprefix(b'\xef\xbb\xbf').lstrip().lower()
    if text.startswith((b'<!doctype html', b'<html', b'<head')):
        return 'a web page: the link leads to a page about the file, download the file itself'
    if text.startswith((b'<?xml', b'<net')):
        return _OPENVINO if b'<net' in text else 'an XML file'
    if text.startswith((b'[net]', b'[convolutional]')):
        return f'a darknet configuration: {_CONVERT}'
    return ''
