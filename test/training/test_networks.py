"""Designs by name, and weights of other people put into them."""

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='pip install torch')

from shapes import TINY  # noqa: E402

from yolox_trt_ros.core.class_names import COCO  # noqa: E402
from yolox_trt_ros.core.errors import ConfigError, ModelError  # noqa: E402
from yolox_trt_ros.detector import Detector  # noqa: E402
from yolox_trt_ros.image_files import read_image  # noqa: E402
from yolox_trt_ros.training.learning.batchnorm import settle  # noqa: E402
from yolox_trt_ros.training.learning.precision import Precision  # noqa: E402
from yolox_trt_ros.training.networks.build import DESIGNS, NetworkSpec  # noqa: E402
from yolox_trt_ros.training.networks.layers import focus_as_convolution  # noqa: E402
from yolox_trt_ros.training.networks.maps import Concatenated, gflops  # noqa: E402
from yolox_trt_ros.training.networks.weights import STEM, carry, read_source  # noqa: E402
from yolox_trt_ros.training.results.export import export  # noqa: E402
from yolox_trt_ros.training.runs.ranks import Ranks  # noqa: E402

# Millions of parameters that Megvii's README gives for 80 classes.
PARAMETERS = {'yolox_nano': 0.91, 'yolox_tiny': 5.06, 'yolox_s': 9.0, 'yolox_m': 25.3}


@pytest.mark.parametrize('name', PARAMETERS)
def test_megviis_designs_are_as_large_as_published(name):
    network = NetworkSpec(name, COCO, (640, 640), {}).shapes()
    count = sum(w.numel() for w in network.parameters())
    assert count / 1e6 == pytest.approx(PARAMETERS[name], rel=0.01)


def test_every_design_has_a_twin_for_the_dla_with_the_same_weights_but_the_stem():
    for name in PARAMETERS:
        a, b = (
            NetworkSpec(n, COCO, (64, 64), {}).shapes().state_dict() for n in (name, f'{name}_dla')
        )
        other = {k for k, v in a.items() if b[k].shape != v.shape}
        assert other == {STEM}
    assert {f'{name}_dla' for name in PARAMETERS} < set(DESIGNS)


def test_a_network_at_the_published_size_costs_what_was_published():
    network = NetworkSpec('yolox_nano', COCO, (416, 416), {}).build()
    assert gflops(network, (416, 416)) == pytest.approx(1.08, rel=0.06)


def test_focus_is_a_convolution():
    torch.manual_seed(0)
    plain = NetworkSpec('yolox_nano', ('a',), (64, 64), {}).build().backbone.backbone.stem
    x = torch.rand(1, 3, 64, 96)
    weight = focus_as_convolution(plain.conv.conv.weight)
    folded = torch.nn.functional.conv2d(x, weight, stride=2, padding=2)
    parts = (x[..., ::2, ::2], x[..., 1::2, ::2], x[..., ::2, 1::2], x[..., 1::2, 1::2])
    assert torch.allclose(folded, plain.conv.conv(torch.cat(parts, 1)), atol=1e-5)


@pytest.mark.parametrize(
    ('spec', 'words'),
    [
        (('edge_m', (64, 64), {}), 'did you mean'),
        (('edge_n', (60, 64), {}), 'expected multiples of 32, got 64x60'),
        (('edge_n', (64, 64), {'akt': 'silu'}), 'akt'),
    ],
)
def test_what_is_no_design_is_refused(spec, words):
    name, size, changes = spec
    with pytest.raises(ConfigError, match=words):
        NetworkSpec(name, ('a',), size, changes).build()


@pytest.fixture(scope='module')
def nano(real):
    """Return the published nano's weights, read from its ONNX file."""
    return read_source(str(real / 'yolox_nano_coco.onnx'), '')


def test_the_published_nano_is_known_and_computes_the_same(nano, real):
    assert (nano.spec.design, nano.spec.size, nano.classes) == ('yolox_nano', (416, 416), COCO)
    image = np.random.default_rng(0).uniform(0, 255, (1, 3, 416, 416)).astype(np.float32)
    import onnxruntime

    session = onnxruntime.InferenceSession(str(real / 'yolox_nano_coco.onnx'))
    (expected,) = session.run(None, {'images': image})
    # The twin with the 6x6 convolution and chained pools has the same function, but for its ReLU6.
    for spec in (nano.spec, NetworkSpec('yolox_nano_dla', COCO, (416, 416), {'act': 'silu'})):
        network = spec.build().eval()
        assert carry(nano, network, COCO)[1] == []
        with torch.no_grad():
            found = Concatenated(network)(torch.from_numpy(image)).numpy()
        assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


def test_the_published_nano_exported_again_finds_the_same(nano, real, tmp_path):
    network = nano.spec.build()
    carry(nano, network, COCO)
    settle(network, [torch.rand(1, 3, 416, 416) * 255])
    export(network, nano.spec, tmp_path / 'nano.onnx')
    files = sorted((real / 'images').iterdir())[:3]
    names = real / 'coco_classes.txt'
    with (
        Detector(tmp_path / 'nano.onnx') as mine,
        Detector(real / 'yolox_nano_coco.onnx', labels=names) as theirs,
    ):
        assert len(mine.labels) == len(theirs.labels)  # "motorbike" is a motorcycle
        for file in files:
            bgr = read_image(file)
            a, b = mine(bgr), theirs(bgr)
            assert len(a) == len(b) > 0
            assert a.class_id.tolist() == b.class_id.tolist()
            assert np.allclose(a.xyxy, b.xyxy, atol=0.05)
            assert np.allclose(a.score, b.score, atol=1e-3)


def test_a_checkpoint_of_megvii_is_read_and_its_classes_go_by_name(tmp_path):
    torch.manual_seed(0)
    theirs = NetworkSpec('yolox_nano', COCO, (416, 416), {}).build()
    torch.save({'model': theirs.state_dict(), 'start_epoch': 300}, tmp_path / 'yolox_nano.pth')
    source = read_source(str(tmp_path / 'yolox_nano.pth'), '')
    assert (source.spec.design, source.classes) == ('yolox_nano', COCO)
    mine = NetworkSpec('yolox_nano_dla', ('dog', 'shoe', 'motorbike'), (416, 416), {}).build()
    fresh = mine.head.cls_preds[0].weight[1].clone()
    _, new = carry(source, mine, ('dog', 'shoe', 'motorbike'))
    assert new == []
    for row, name in ((0, 'dog'), (2, 'motorcycle')):
        expected = theirs.head.cls_preds[0].weight[COCO.index(name)]
        assert torch.equal(mine.head.cls_preds[0].weight[row], expected)
    assert torch.equal(mine.head.cls_preds[0].weight[1], fresh)


def test_weights_of_another_design_are_refused(tmp_path):
    theirs = NetworkSpec('yolox_nano', COCO, (416, 416), {}).build()
    torch.save({'model': theirs.state_dict()}, tmp_path / 'n.pth')
    mine = NetworkSpec('edge_n', COCO, (416, 416), {}).build()
    with pytest.raises(ConfigError, match=r'n\.pth: its weights \(yolox_nano\) do not fit'):
        carry(read_source(str(tmp_path / 'n.pth'), ''), mine, COCO)


def test_a_checkpoint_that_runs_code_is_refused(tmp_path):
    torch.save({'model': Path('/')}, tmp_path / 'bad.pth')
    with pytest.raises(ModelError, match='expected a checkpoint of tensors and plain data'):
        read_source(str(tmp_path / 'bad.pth'), '')
    (tmp_path / 'cut.pth').write_bytes(b'PK\x03\x04 cut')
    with pytest.raises(ModelError, match='expected a checkpoint'):
        read_source(str(tmp_path / 'cut.pth'), '')


def test_an_own_export_says_what_it_is(tmp_path):
    torch.manual_seed(0)
    spec = NetworkSpec('edge_n', ('a', 'b'), (64, 96), TINY)
    network = spec.build()
    export(network, spec, tmp_path / 'm.onnx')
    source = read_source(str(tmp_path / 'm.onnx'), '')
    assert json.dumps(source.spec.to_json()) == json.dumps(spec.to_json())
    again = spec.build().eval()
    assert carry(source, again, ('a', 'b'))[1] == []
    x = torch.rand(1, 3, 64, 96) * 255
    with torch.no_grad(), Precision('cpu', 'fp32').forward():
        assert torch.allclose(
            Concatenated(again)(x), Concatenated(network.eval())(x), atol=1e-4, rtol=1e-4
        )


def test_ranks_share_pictures_completely():
    parts = [list(Ranks(k, 3, 'cpu').share(10)) for k in range(3)]
    assert [x for part in parts for x in part] == list(range(10))
