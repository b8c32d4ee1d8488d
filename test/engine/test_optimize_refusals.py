"""Models, files and outputs that `optimize` refuses or warns of."""

import onnx
import pytest
from generated_yolox import write_yolox
from onnx import helper
from tiny_models import write_identity
from tiny_models import write_yolox as write_tiny

from yolox_trt_ros.__main__ import main


def test_models_that_are_no_yolox(tmp_path, capsys):
    shape = {'images': [1, 3, 32, 32]}
    path = write_identity(tmp_path / 'id.onnx', shape, {'y': [1, 3, 32, 32]})
    assert main(['optimize', str(path), '--output', str(tmp_path / 'o.onnx')]) == 1
    assert 'not a YOLOX that can be cut' in capsys.readouterr().err
    # The verdict is given on any ONNX all the same.
    assert main(['optimize', str(path), '--check-dla']) == 0


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (lambda b: b'', 'expected an ONNX model'),
        (lambda b: b'\x89PNG' + b[:500], 'expected an ONNX model'),
        (lambda b: b[: len(b) // 2], 'expected an ONNX model'),
    ],
)
def test_damaged_files(tmp_path, capsys, damage, message):
    path = write_tiny(tmp_path / 'm.onnx')
    path.write_bytes(damage(path.read_bytes()))
    assert main(['optimize', str(path), '--check-dla']) == 1
    assert message in capsys.readouterr().err


def test_missing_files_are_named(tmp_path, capsys):
    write_tiny(tmp_path / 'model.onnx')
    assert main(['optimize', str(tmp_path / 'modell.onnx'), '--check-dla']) == 1
    assert 'did you mean "model.onnx"' in capsys.readouterr().err


def test_external_weights(tmp_path, capsys):
    model = onnx.load(str(write_yolox(tmp_path / 'm.onnx', 'nano', height=64, width=64)))
    path = tmp_path / 'split.onnx'
    onnx.save(model, str(path), save_as_external_data=True, location='split.bin', size_threshold=0)
    assert main(['optimize', str(path), '--output', str(tmp_path / 'o.onnx'), '--check-dla']) == 0
    (tmp_path / 'split.bin').unlink()
    assert main(['optimize', str(path), '--check-dla']) == 1
    assert 'its weights lie in a file beside it' in capsys.readouterr().err


def test_operators_nobody_knows(tmp_path, capsys):
    path = write_yolox(tmp_path / 'm.onnx', 'nano', height=64, width=64)
    model = onnx.load(str(path))
    model.opset_import.append(helper.make_opsetid('trt', 1))
    model.graph.node[-1].output[0] = 'rows'
    node = helper.make_node('EfficientNMS_TRT', ['rows'], ['output'], domain='trt')
    model.graph.node.append(node)
    model.graph.output[0].name = 'output'
    onnx.save(model, str(path))
    assert main(['optimize', str(path), '--check-dla']) == 3
    assert 'EfficientNMS_TRT' in capsys.readouterr().out
    assert main(['optimize', str(path), '--output', str(tmp_path / 'o.onnx')]) == 1
    assert 'EfficientNMS_TRT' in capsys.readouterr().err


def test_a_sidecar_that_would_overrule_the_output_is_reported(tmp_path, capsys):
    path = write_yolox(tmp_path / 'm.onnx', 'nano', height=64, width=64)
    (tmp_path / 'o.yaml').write_text('scores: probability\n')
    assert main(['optimize', str(path), '--output', str(tmp_path / 'o.onnx')]) == 1
    assert 'o.yaml lies beside the output' in capsys.readouterr().err


def test_an_output_that_cannot_be_written(tmp_path, capsys):
    path = write_yolox(tmp_path / 'm.onnx', 'nano', height=64, width=64)
    (tmp_path / 'file').write_text('')
    assert main(['optimize', str(path), '--output', str(tmp_path / 'file' / 'o.onnx')]) == 1
    assert 'cannot be written' in capsys.readouterr().err
