"""Files that are given in place of an ONNX model: each is named, with what to do."""

import os
from pathlib import Path

import pytest

from yolox_trt_ros.core.errors import ModelError
from yolox_trt_ros.core.model_file import check_model_file

LFS = b'version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 3660092\n'
ZIP = b'PK\x03\x04\x14\x00\x08\x08\x08\x00' + bytes(16)
OTHERS = {
    'empty': (b'', 'got an empty file: copy or download it again'),
    'Git LFS pointer': (LFS, 'a Git LFS pointer, .*git lfs pull'),
    'web page': (b'\n<!DOCTYPE html><html><head>', 'a web page: .*download the file itself'),
    'web page with BOM': (b'\xef\xbb\xbf<html lang="en">', 'a web page'),
    'OpenVINO': (b'<?xml version="1.0"?>\n<net name="x" version="11">', 'OpenVINO'),
    'PyTorch': (ZIP + b'\x10\x00\x00\x00yolox_s/data.pkl', 'a PyTorch checkpoint.*export_onnx'),
    'PyTorch of old': (b'\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.', 'a PyTorch checkpoint'),
    'ZIP': (ZIP + b'\x0c\x00\x00\x00m/model.onnx', 'a ZIP archive: unpack it'),
    'safetensors': (b'\x40\0\0\0\0\0\0\0{"a":{"dtype":"F32"}}', 'a safetensors file'),
    'TFLite': (b'\x1c\0\0\0TFL3' + bytes(20), 'TensorFlow Lite'),
    'engine': (b'ftrt' + bytes(40), 'a TensorRT engine.*give the ONNX file it was built from'),
    'ORT format': (b'\x18\0\0\0ORTM', 'the ORT format'),
    'gzip': (b'\x1f\x8b\x08', 'a gzip archive: unpack it'),
    'tar': (b'm.onnx' + bytes(251) + b'ustar\x0000', 'a tar archive: unpack it'),
    'darknet': (b'[net]\nwidth=416\n', 'a darknet configuration'),
    'image': (b'\x89PNG\r\n', 'a PNG image'),
}


@pytest.mark.parametrize(('content', 'message'), OTHERS.values(), ids=OTHERS)
def test_other_files_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / 'm.onnx'
    path.write_bytes(content)
    with pytest.raises(ModelError, match=rf'm\.onnx: expected an ONNX model, .*{message}'):
        check_model_file(path)


def test_what_is_no_regular_file(tmp_path: Path) -> None:
    (tmp_path / 'models').mkdir()
    with pytest.raises(ModelError, match=r'got a folder without one'):
        check_model_file(tmp_path / 'models')
    (tmp_path / 'models' / 'a.onnx').touch()
    with pytest.raises(ModelError, match=r'got a folder that holds a\.onnx'):
        check_model_file(tmp_path / 'models')
    os.mkfifo(tmp_path / 'pipe.onnx')
    with pytest.raises(ModelError, match='got a pipe or a device'):
        check_model_file(tmp_path / 'pipe.onnx')
    (tmp_path / 'link.onnx').symlink_to('gone.onnx')
    with pytest.raises(ModelError, match=r'is a link to gone\.onnx, which is not there'):
        check_model_file(tmp_path / 'link.onnx')
    with pytest.raises(ModelError, match=r'does not exist — did you mean "pipe\.onnx"'):
        check_model_file(tmp_path / 'pip.onnx')
    with pytest.raises(ModelError, match='cannot be read'):
        check_model_file(Path('a\0b.onnx'))


def test_no_permission(tmp_path: Path) -> None:
    path = tmp_path / 'm.onnx'
    path.write_bytes(b'x')
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip('this user may read everything')
    with pytest.raises(ModelError, match='cannot be read: Permission denied'):
        check_model_file(path)


def test_a_file_beyond_any_onnx_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / 'm.onnx'
    path.write_bytes(b'\x08\x08')
    os.truncate(path, 3 << 30)
    with pytest.raises(ModelError, match='at most 2 GiB'):
        check_model_file(path)
