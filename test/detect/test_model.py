"""Any kind of YOLOX export is read for what it is; anything else is refused with the reason."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from tiny_models import HEIGHT, LABELS, WIDTH, write_identity, write_yolox

from yolox_trt_ros.compose import load_model
from yolox_trt_ros.core.config import ModelConfig
from yolox_trt_ros.core.detections import Detections
from yolox_trt_ros.core.detector import Detected
from yolox_trt_ros.core.errors import ConfigError, FrameError, ModelError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.model import Thresholds
from yolox_trt_ros.detect.backends.onnxruntime import cpu_detector
from yolox_trt_ros.detect.heads.yolox.head import YoloxHead
from yolox_trt_ros.detect.model import load_model_spec

KINDS = [
    ('concatenated', 'probability', 'grid'),
    ('concatenated', 'logit', 'grid'),
    ('concatenated', 'probability', 'pixel'),
    ('per_level', 'probability', 'grid'),
    ('per_level', 'logit', 'grid'),
]


def image(seed: int, height: int = 2 * HEIGHT, width: int = 2 * WIDTH) -> Frame:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Frame('front', 0, 0, 0, '', 'bgr8', height, width, 3 * width, pixels.reshape(-1))


def detect(path: Path, frames: list[Frame], max_batch: int = 1) -> list[Detections | FrameError]:
    model = load_model_spec(path)
    detector = cpu_detector(path, model, lambda: Thresholds(0.3), max_batch)
    results: list[Detections | FrameError] = []
    for start in range(0, len(frames), max_batch):
        for result in detector.submit(frames[start : start + max_batch]).wait():
            results.append(result.detections if isinstance(result, Detected) else result)
    detector.close()
    return results


@pytest.mark.parametrize('batch', ['batch', 1, 2])
@pytest.mark.parametrize(('layout', 'scores', 'boxes'), KINDS)
def test_export_is_recognised(
    tmp_path: Path, layout: str, scores: str, boxes: str, batch: int | str
) -> None:
    path = write_yolox(tmp_path / 'm.onnx', layout=layout, scores=scores, boxes=boxes, batch=batch)
    spec = load_model_spec(path)
    assert isinstance(spec.head, YoloxHead)
    assert (spec.head.scores, spec.head.boxes, spec.head.strides) == (scores, boxes, (8, 16, 32))
    assert (spec.input.height, spec.input.width) == (HEIGHT, WIDTH)
    assert spec.input.batch == (0 if batch == 'batch' else batch)
    assert (spec.labels, spec.input.name) == (LABELS, 'images')
    assert len(spec.head.outputs) == (9 if layout == 'per_level' else 1)


@pytest.mark.parametrize(('layout', 'scores', 'boxes'), KINDS[1:])
def test_every_export_of_a_network_finds_the_same(
    tmp_path: Path, layout: str, scores: str, boxes: str
) -> None:
    frames = [image(seed) for seed in range(3)]
    expected = detect(write_yolox(tmp_path / 'plain.onnx'), frames)
    path = write_yolox(tmp_path / 'other.onnx', layout=layout, scores=scores, boxes=boxes)
    for a, b in zip(expected, detect(path, frames), strict=True):
        assert isinstance(a, Detections) and isinstance(b, Detections)
        assert len(a) > 5
        assert a.class_id.tolist() == b.class_id.tolist()
        np.testing.assert_allclose(a.xyxy, b.xyxy, atol=0.01)
        np.testing.assert_allclose(a.score, b.score, atol=1e-5)


@pytest.mark.parametrize('labels', [('a',), ('a', 'b', 'c', 'd')], ids=len)
def test_class_counts_that_look_like_boxes_or_objectness(
    tmp_path: Path, labels: tuple[str, ...]
) -> None:
    frames = [image(0)]
    whole = detect(write_yolox(tmp_path / 'a.onnx', labels=labels), frames)
    cut = detect(write_yolox(tmp_path / 'b.onnx', labels=labels, layout='per_level'), frames)
    assert isinstance(whole[0], Detections) and isinstance(cut[0], Detections)
    np.testing.assert_allclose(whole[0].xyxy, cut[0].xyxy, atol=0.01)


@pytest.mark.parametrize('strides', [(8,), (16, 32), (4, 8, 16, 32), (8, 16, 32)])
@pytest.mark.parametrize('layout', ['concatenated', 'per_level'])
def test_strides_are_read_from_the_shapes(
    tmp_path: Path, layout: str, strides: tuple[int, ...]
) -> None:
    path = write_yolox(tmp_path / 'm.onnx', layout=layout, strides=strides)
    assert load_model_spec(path).head.strides == strides


@pytest.mark.parametrize(('batch', 'max_batch'), [('batch', 1), ('batch', 3), (2, 2)])
def test_batches(tmp_path: Path, batch: int | str, max_batch: int) -> None:
    frames = [image(seed, 50 + 9 * seed, 70) for seed in range(5)]
    alone = detect(write_yolox(tmp_path / 'one.onnx', batch=1), frames)
    together = detect(write_yolox(tmp_path / 'm.onnx', batch=batch), frames, max_batch)
    for a, b in zip(alone, together, strict=True):
        assert isinstance(a, Detections) and isinstance(b, Detections)
        np.testing.assert_allclose(a.xyxy, b.xyxy, atol=0.01)


@pytest.mark.parametrize('max_batch', [2, 5])
def test_a_fixed_batch_is_run_as_often_as_a_call_needs_it(tmp_path: Path, max_batch: int) -> None:
    frames = [image(seed, 50 + 9 * seed, 70) for seed in range(5)]
    alone = detect(write_yolox(tmp_path / 'one.onnx', batch=1), frames)
    together = detect(write_yolox(tmp_path / 'm.onnx', batch=2), frames, max_batch)
    for a, b in zip(alone, together, strict=True):
        assert isinstance(a, Detections) and isinstance(b, Detections)
        np.testing.assert_allclose(a.xyxy, b.xyxy, atol=0.01)


def test_a_damaged_image_fails_alone(tmp_path: Path) -> None:
    path = write_yolox(tmp_path / 'm.onnx')
    damaged = Frame('front', 1, 0, 0, '', 'jpeg', 9, 9, 0, np.zeros(20, np.uint8))
    first, second, third = detect(path, [image(0), damaged, image(2)], max_batch=3)
    assert isinstance(second, FrameError)
    (alone,) = detect(path, [image(2)])
    assert isinstance(first, Detections) and isinstance(third, Detections)
    assert isinstance(alone, Detections)
    np.testing.assert_allclose(third.xyxy, alone.xyxy, atol=0.01)


SIDECAR = {
    'labels': ['x', 'y', 'z'],
    'strides': [8, 16, 32],
    'scores': 'logit',
    'boxes': 'pixel',
    'colour': 'rgb',
    'pad': 0,
    'scale': 1 / 255,
    'mean': [0.485, 0.456, 0],
    'std': [0.229, 0.224, 1],
}


@pytest.mark.parametrize('where', ['sidecar', 'metadata', 'both'])
def test_description_overrides_what_the_graph_says(tmp_path: Path, where: str) -> None:
    message = json.dumps({**SIDECAR, 'pad': 9} if where == 'both' else SIDECAR)
    path = write_yolox(tmp_path / 'm.onnx', metadata=None if where == 'sidecar' else message)
    if where != 'metadata':
        path.with_suffix('.yaml').write_text(yaml.safe_dump(SIDECAR))
    spec = load_model_spec(path)
    assert (spec.head.scores, spec.head.boxes) == ('logit', 'pixel')
    assert (spec.input.colour, spec.input.pad) == ('rgb', 0)
    assert spec.input.scale == pytest.approx(1 / 255)
    assert (spec.input.mean, spec.input.std) == ((0.485, 0.456, 0), (0.229, 0.224, 1))
    assert spec.labels == ('x', 'y', 'z')


def test_labels_file_that_is_named_comes_first(tmp_path: Path) -> None:
    path = write_yolox(tmp_path / 'm.onnx', metadata=json.dumps(SIDECAR))
    named = tmp_path / 'named.txt'
    named.write_text('Auto\r\n\r\n Mensch \r\nBüs')
    assert load_model_spec(path, named).labels == ('Auto', 'Mensch', 'Büs')


BAD_DESCRIPTIONS = {
    'not YAML': ('labels: [a', 'not YAML'),
    'no mapping': ('- a\n- b', 'expected keys and values, got a list'),
    'not text': (b'\xff\xfe\x00', 'expected UTF-8, got UTF-16'),
    'unknown key': ('lables: [a, b, c]', 'did you mean "labels"'),
    'number for a key': ('1: a', 'unknown key 1; valid: anchors, boxes, '),
    'wrong type': ('pad: white', 'pad: expected int'),
    'wrong choice': ('scores: logits', '"logits" is not one of probability, logit'),
    'labels that are no names': ('labels: [1, 2, 3]', 'labels: expected'),
    'strides that are no numbers': ('strides: [a, b]', 'strides: expected'),
    'stride of zero': ('strides: [0, 16, 32]', 'strides: expected'),
    'no strides': ('strides: []', 'strides: expected'),
    'negative stride': ('strides: [-8, 16, 32]', 'strides: expected'),
    'strides of another model': ('strides: [8, 16]', r'strides \[8, 16\] make 120 anchors'),
    'mean of one channel': ('mean: [0.5]', 'mean: expected one number for each of 3 channels'),
    'std in words': ('std: [a, b, c]', 'std: expected a list of float'),
    'std of zero': ('std: [1, 0, 1]', 'std: expected positive numbers'),
    'mean that is no number': ('mean: [1, .nan, 1]', 'expected a finite number'),
    'endless scale': ('scale: .inf', 'expected a finite number'),
    'too few labels': ('labels: [a, b]', 'expected 3 labels, one per class of the model, got 2'),
}


@pytest.mark.parametrize(('content', 'message'), BAD_DESCRIPTIONS.values(), ids=BAD_DESCRIPTIONS)
def test_bad_description(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = write_yolox(tmp_path / 'm.onnx')
    raw = content if isinstance(content, bytes) else content.encode()
    path.with_suffix('.yaml').write_bytes(raw)
    with pytest.raises(ModelError, match=message):
        load_model_spec(path)


def test_strides_that_contradict_the_maps(tmp_path: Path) -> None:
    path = write_yolox(tmp_path / 'm.onnx', layout='per_level')
    path.with_suffix('.yaml').write_text('strides: [4, 8, 16]')
    with pytest.raises(ModelError, match=r'its maps have \[8, 16, 32\]'):
        load_model_spec(path)


def test_unusual_strides_have_to_be_given(tmp_path: Path) -> None:
    path = write_yolox(tmp_path / 'm.onnx', strides=(12, 24))
    with pytest.raises(ModelError, match='no set of strides makes 48 anchors at 96x64'):
        load_model_spec(path)
    path.with_suffix('.yaml').write_text('strides: [12, 24]')
    assert load_model_spec(path).head.strides == (12, 24)


@pytest.mark.parametrize('metadata', ['{', '[1]', '{"scores": "maybe"}'])
def test_bad_metadata(tmp_path: Path, metadata: str) -> None:
    with pytest.raises(ModelError, match=r'm\.onnx: .*(metadata|scores)'):
        load_model_spec(write_yolox(tmp_path / 'm.onnx', metadata=metadata))


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (None, 'labels.txt does not exist'),
        (b'a\nb\n', 'expected 3 labels, one per class of the model, got 2'),
        (b'\xff\xfe\x00a', 'labels.txt: expected UTF-8, got UTF-16'),
    ],
)
def test_bad_labels_file(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = write_yolox(tmp_path / 'm.onnx')
    labels = tmp_path / 'my_labels.txt'
    if content is not None:
        labels.write_bytes(content)
    with pytest.raises(ModelError, match=message):
        load_model_spec(path, labels)


def test_no_labels(tmp_path: Path) -> None:
    path = write_yolox(tmp_path / 'm.onnx')
    (tmp_path / 'labels.txt').unlink()
    with pytest.raises(ModelError, match=r'has 3 classes and no names for them: .*--labels'):
        load_model_spec(path)


IMAGE = [1, 3, 64, 96]
NOT_YOLOX = {
    'classifier': ({'x': IMAGE}, {'y': [1, 1000]}),
    'segmentation': ({'x': IMAGE}, {'y': [1, 21, 64, 96]}),
    'boxes only': ({'x': IMAGE}, {'y': [1, 126, 4]}),
    'no set of strides': ({'x': IMAGE}, {'y': [1, 127, 8]}),
    'levels with a map missing': ({'x': IMAGE}, {'a': [1, 4, 8, 12], 'b': [1, 1, 8, 12]}),
    'levels with two class counts': (
        {'x': IMAGE},
        {
            'a': [1, 4, 8, 12],
            'b': [1, 1, 8, 12],
            'c': [1, 3, 8, 12],
            'd': [1, 4, 4, 6],
            'e': [1, 1, 4, 6],
            'f': [1, 2, 4, 6],
        },
    ),
    'grey input': ({'x': [1, 1, 64, 96]}, {'y': [1, 126, 8]}),
    'channels last': ({'x': [1, 64, 96, 3]}, {'y': [1, 126, 8]}),
    'two inputs': ({'x': IMAGE, 'z': IMAGE}, {'y': [1, 126, 8]}),
    'any size': ({'x': ['n', 3, 'h', 'w']}, {'y': ['n', 'anchors', 8]}),
}


@pytest.mark.parametrize(('inputs', 'outputs'), NOT_YOLOX.values(), ids=NOT_YOLOX)
def test_not_a_yolox(tmp_path: Path, inputs: dict, outputs: dict) -> None:
    path = tmp_path / 'other.onnx'
    write_identity(path, inputs, outputs)
    (tmp_path / 'labels.txt').write_text('a\nb\nc\n')
    with pytest.raises(ModelError, match=r'other\.onnx.*(expected|anchors)'):
        load_model_spec(path)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'', 'an empty file'),
        (b'hello', 'a text file: give the .onnx'),
        (b'{"model": "yolox"}', 'a text file'),
        (bytes(range(256)) * 9, '2304 bytes that are cut off, damaged .* download the file again'),
    ],
)
def test_not_onnx(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / 'm.onnx'
    path.write_bytes(content)
    with pytest.raises(ModelError, match=rf'm\.onnx: expected an ONNX model, got {message}'):
        load_model_spec(path)


def test_truncated_onnx(tmp_path: Path) -> None:
    path = write_yolox(tmp_path / 'm.onnx')
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(ModelError, match=r'got \d+ bytes that are cut off, .*compare its size$'):
        load_model_spec(path)


def test_missing_model(tmp_path: Path) -> None:
    write_yolox(tmp_path / 'yolox_nano.onnx')
    with pytest.raises(ModelError, match=r'does not exist — did you mean "yolox_nano\.onnx"'):
        load_model(ModelConfig(path=str(tmp_path / 'yolox_nan.onnx')))
    with pytest.raises(ModelError, match='does not exist'):
        load_model(ModelConfig(path=str(tmp_path / 'nowhere' / 'm.onnx')))
    with pytest.raises(ConfigError, match=r'model\.path: .* got "no_such_name"'):
        load_model(ModelConfig(path='no_such_name'))
