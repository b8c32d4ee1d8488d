"""Models of one batch size, for calls of any size."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from tiny_models import Graph, write_model

from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.model import InputSpec
from yolox_trt_ros.detect.graph.free_batch import with_free_batch
from yolox_trt_ros.detect.model import load_model_spec
from yolox_trt_ros.packaged_models import find_model


@pytest.mark.parametrize('name', ['edge_n', 'edge_n_cut'])
def test_each_image_of_a_batch_gives_what_it_gives_alone(name: str) -> None:
    path = find_model(name)
    one = ort.InferenceSession(str(path))
    many = ort.InferenceSession(with_free_batch(path, 3, load_model_spec(path).input))
    (image,) = one.get_inputs()
    images = np.random.default_rng(0).uniform(0, 255, (3, *image.shape[1:])).astype(np.float32)
    together = many.run(None, {image.name: images})
    for index in range(3):
        alone = one.run(None, {image.name: images[index : index + 1]})
        for batched, single in zip(together, alone, strict=True):
            np.testing.assert_allclose(batched[index], single[0], rtol=1e-5, atol=1e-5)


def test_batch_that_is_built_into_the_graph_is_refused(tmp_path: Path) -> None:
    graph = Graph()
    shape = graph.constant('shape', np.array([1, -1], np.int64))
    graph.add('Reshape', ['images', shape], 'flat')
    path = write_model(tmp_path / 'm.onnx', graph, {'images': [1, 3, 8, 8]}, {'flat': [1, 192]})
    with pytest.raises(ConfigError, match=r'expected 1 for m\.onnx.*got 8'):
        with_free_batch(path, 8, InputSpec('images', 1, 8, 8))
