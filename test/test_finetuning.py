"""Training on from an ONNX file: the same function, zeros that stay, INT8's own roundings."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='pip install -r training/requirements.txt')
pytest.importorskip('yolox', reason='pip install -r training/requirements.txt')

from training.assign import AssignmentPool  # noqa: E402
from training.data import HEIGHT, SLOTS, WIDTH, Pictures  # noqa: E402
from training.finetune import zeros_of  # noqa: E402
from training.from_onnx import read_network, with_weights_of  # noqa: E402
from training.int8 import round_as_int8  # noqa: E402
from training.step import Step  # noqa: E402
from yolox_trt_ros.core.errors import ModelError  # noqa: E402
from yolox_trt_ros.engine.onnx_file import read_onnx  # noqa: E402
from yolox_trt_ros.engine.onnx_run import OnnxRun  # noqa: E402
from yolox_trt_ros.engine.qdq import prepared  # noqa: E402
from yolox_trt_ros.engine.simulated_int8 import Int8Simulation  # noqa: E402
from yolox_trt_ros.engine.sparsity import is_sparse, largest_two  # noqa: E402
from yolox_trt_ros.engine.statistics import fixed_ranges  # noqa: E402
from yolox_trt_ros.packaged_models import find_model  # noqa: E402
from yolox_trt_ros.training.learning.batchnorm import settle  # noqa: E402
from yolox_trt_ros.training.networks.edge import EDGE_N, EDGE_S, EdgeYolox  # noqa: E402
from yolox_trt_ros.training.networks.maps import Concatenated  # noqa: E402

MODEL = find_model('edge_n')
IMAGE = np.random.default_rng(0).uniform(0, 255, (1, 3, 320, 480)).astype(np.float32)


def answer(network: EdgeYolox) -> np.ndarray:
    with torch.no_grad():
        return Concatenated(network).eval()(torch.from_numpy(IMAGE)).numpy()


def test_the_network_is_the_files_and_its_statistics_do_not_change_that():
    network = read_network(MODEL, EDGE_N)
    (expected,) = OnnxRun(read_onnx(MODEL))(IMAGE).values()
    assert np.abs(answer(network) - expected).max() < 1e-4 * np.abs(expected).max()
    settle(network, [torch.from_numpy(IMAGE)])
    assert float(network.stem.bn.running_var.mean()) > 100
    assert np.abs(answer(network) - expected).max() < 1e-3 * np.abs(expected).max()
    # In training, the picture's own statistics are those that it gave.
    with torch.no_grad():
        trained = Concatenated(network.train())(torch.from_numpy(IMAGE)).numpy()
    assert np.abs(trained - expected).max() < 2e-2 * np.abs(expected).max()


def test_weights_go_back_into_the_file():
    network = read_network(MODEL, EDGE_N)
    with torch.no_grad():
        network.head[0].cls.bias += 1.0
    written = with_weights_of(MODEL, network)
    (found,) = OnnxRun(written)(IMAGE).values()
    assert np.abs(answer(network) - found).max() < 1e-4 * np.abs(found).max()
    assert [n.name for n in written.graph.node] == [n.name for n in read_onnx(MODEL).graph.node]


def test_another_design_is_refused():
    with pytest.raises(ModelError, match='the file has'):
        read_network(MODEL, EDGE_S)


def sparse_network() -> EdgeYolox:
    torch.manual_seed(0)
    network = EdgeYolox(EDGE_N, 6)
    with torch.no_grad():
        for conv in (network.stage3[0].conv, network.head[1].stem.conv):
            conv.weight.copy_(torch.from_numpy(largest_two(conv.weight.numpy())))
    return network


def test_steps_keep_the_zeros_and_change_the_rest(tmp_path: Path):
    images = np.random.default_rng(0).integers(0, 255, (2, HEIGHT, WIDTH, 3), np.uint8)
    labels = np.full((2, SLOTS, 6), -1, np.float32)
    labels[:, 0] = (0, 300, 200, 400, 280, 0)
    np.save(tmp_path / 'train_images.npy', images)
    np.save(tmp_path / 'train_labels.npy', labels)
    network, size = sparse_network(), (64, 96)
    zeros = zeros_of(network)
    assert list(zeros) == ['stage3.0.conv.weight', 'head.1.stem.conv.weight']
    before = {k: v.clone() for k, v in network.state_dict().items()}
    with AssignmentPool(2, SLOTS, size, 6, workers=1) as pool:
        step = Step(network, Pictures(tmp_path, 'train', size, 'cpu'), pool, True, 1, zeros)
        for _ in range(3):
            step.run(torch.arange(2), torch.Generator().manual_seed(0), 1e-2, l1=1.0, zoom=0.0)
    for trained in (network, step.average.network):
        state = trained.state_dict()
        for name, mask in zeros.items():
            assert not state[name][mask == 0].any()
            assert is_sparse(state[name].numpy())
            assert (state[name] != before[name])[mask == 1].float().mean() > 0.9
        assert not torch.equal(state['stage4.0.conv.weight'], before['stage4.0.conv.weight'])


def test_int8_in_training_is_that_of_the_file():
    model = prepared(read_onnx(MODEL))
    ranges = fixed_ranges(model, 6.0, 255.0)
    convolutions = [n.output[0] for n in model.graph.node if n.op_type == 'Conv']
    # One more layer, and a last bit that differs moves whole steps.
    kept = convolutions[2:]
    network = read_network(MODEL, EDGE_N)
    exact = answer(network)
    assert round_as_int8(network, model, ranges, kept) == 2
    (expected,) = Int8Simulation(model, ranges).version(kept)(IMAGE)
    there = np.abs(exact - expected).mean()
    assert np.abs(answer(network) - expected).mean() < 0.05 * there
    settle(network, [torch.from_numpy(IMAGE)])
    assert np.abs(answer(network) - expected).mean() < 0.2 * there
