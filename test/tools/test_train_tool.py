"""The tool: from labelled pictures in every format to a model that detects."""

import json

import pytest

torch = pytest.importorskip('torch', reason='pip install torch')
pytest.importorskip('tensorboardX', reason='pip install tensorboardX')

from shapes import TINY, write_shapes  # noqa: E402

from yolox_trt_ros.__main__ import main  # noqa: E402
from yolox_trt_ros.datasets.convert import convert  # noqa: E402
from yolox_trt_ros.datasets.formats import FORMATS, read_labelled  # noqa: E402

CHANGES = json.dumps({**TINY, 'channels': list(TINY['channels'])})
SHORT = ['--size', '96x64', '--changes', CHANGES, '--device', 'cpu', '--workers', '0']
SHORT += ['--epochs', '2', '--batch', '4', '--no-quantize', '--precision', 'fp32']


@pytest.fixture(scope='module')
def labels(tmp_path_factory):
    return write_shapes(tmp_path_factory.mktemp('shapes') / 'data')


@pytest.mark.timeout(400)
def test_a_folder_of_labelled_pictures_becomes_a_model(tmp_path, labels, capsys):
    out = tmp_path / 'my_model'
    assert main(['train', '--data', str(labels), '--out', str(out), *SHORT]) == 0
    said = capsys.readouterr()
    assert '14 pictures to learn from, 2 to validate with; classes: square, disc' in said.out
    assert 'class square: 14 boxes in 14 pictures to learn from; expect it to stay' in said.err
    assert f'launch it: ros2 launch yolox_trt_ros orin_8cam.launch.py model:={out}' in said.out
    names = 'my_model.onnx my_model.cut.onnx my_model.yaml MODEL_CARD.md evaluate.json dla.json'
    for name in f'{names} samples.jpg history.jsonl best.pt'.split():
        assert (out / name).is_file(), name
    assert '| fit for a DLA | yes |' in (out / 'MODEL_CARD.md').read_text()
    for model in ('my_model.onnx', 'my_model.cut.onnx'):
        images, found = str(labels.parent / 'images'), tmp_path / 'found.json'
        command = ['detect', '--model', str(out / model), '--images', images, '--score', '0.001']
        assert main([*command, '--json', str(found)]) == 0
        assert json.loads(found.read_text())['labels'] == ['square', 'disc']
    assert main(['train', 'report', str(out)]) == 0
    page = (out / 'report.html').read_text()
    for words in ('AP50 of each class', 'Peaks', 'Confusion matrix', 'Samples', 'disc'):
        assert words in page
    capsys.readouterr()
    assert main(['train', '--data', str(labels), '--out', str(out), *SHORT]) != 0
    assert '--resume goes on with it' in capsys.readouterr().err


@pytest.mark.parametrize('format', FORMATS)
def test_every_format_is_learned_from(tmp_path, labels, format, monkeypatch, capsys):
    convert(
        read_labelled(labels), format, tmp_path / 'd', split='train', placing='link',
        progress=lambda items, _: items,
    )  # fmt: skip
    where = {'voc': 'd', 'darknet': 'd/train.txt'}.get(format, 'd/train.json')
    path = tmp_path / where
    if format == 'darknet' and not path.exists():
        path = tmp_path / 'd'
    jobs = []
    monkeypatch.setattr(
        'yolox_trt_ros.training.job.train', lambda job, *_: jobs.append(job)
    )  # what a job does is tried above; here, that it gets the same from each format
    command = ['train', '--data', str(path), '--classes', 'disc', '--out', str(tmp_path / 'o')]
    assert main([*command, *SHORT]) == 0
    (job,) = jobs
    assert job.train.classes == job.settings.spec.classes == ('disc',)
    assert len(job.train.images) == 14 and len(job.val.images) == 2
    assert sum(len(image.boxes) for image in job.train.images) == 14


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        ([], 'expected --data LABELS and --out DIR'),
        (['--data', 'none.json', '--out', 'o'], 'there is no such file'),
    ],
)
def test_wrong_use_is_reported(tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert main(['train', *arguments]) != 0
    assert words in capsys.readouterr().err
