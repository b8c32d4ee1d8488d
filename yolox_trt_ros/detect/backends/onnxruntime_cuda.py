"""ONNX Runtime's CUDA provider on the detector's stream, with buffers at fixed addresses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from yolox_trt_ros.core.backends import BACKENDS
from yolox_trt_ros.core.errors import MissingDependencyError, ModelError
from yolox_trt_ros.core.model import ModelSpec
from yolox_trt_ros.detect.cuda.preprocess import InputFormat
from yolox_trt_ros.detect.cuda.runtime import SETUP_LOCK, CudaDevice, require_cupy
from yolox_trt_ros.detect.graph.free_batch import with_free_batch

_TYPES = {'tensor(float)': np.float32, 'tensor(float16)': np.float16}
_PROVIDER, _CPU = 'CUDAExecutionProvider', 'CPUExecutionProvider'
_INSTALL = BACKENDS['onnxruntime'].install['cuda']


class OnnxRuntimeCudaBackend:
    """Runs a model on one CUDA device; calls only enqueue.

    A few batch sizes are run, of which the smallest holds a batch. The first run of each takes
    seconds for a float16 model, whose fused convolutions are compiled then. Where ONNX Runtime puts
    the whole model on the device, later runs can be recorded in a CUDA graph.

    Args:
        path: the ONNX file.
        spec: what :func:`detect.model.load_model_spec` read from it.
        device: where it runs.
        stream: ``cupy.cuda.Stream`` that everything is enqueued on.
        max_batch: most images of one call.

    Attributes:
        form: of the input: float32 or float16, ``nchw``.
        input: ``cupy.ndarray`` (max_batch, 3, height, width); written before :meth:`infer`.
        outputs: ``cupy.ndarray`` (max_batch, …) each, in the spec's order.
        sizes: of the batches that are run.
        recordable: true; whether ONNX Runtime puts the whole model on the device, recording shows.

    Raises:
        MissingDependencyError: no ONNX Runtime, or one that cannot use the GPU.
        ModelError: ONNX Runtime cannot load the model, or its types are not supported.
        ConfigError: ``max_batch`` is not the model's batch size, and it works with no other.
    """

    recordable = True

    def __init__(
        self, path: Path, spec: ModelSpec, device: CudaDevice, stream: Any, max_batch: int
    ) -> None:
        self._ort = _require_onnxruntime()
        self._device, self._stream, self._spec = device, stream, spec
        with SETUP_LOCK:
            self._make(path, max_batch)

    def _make(self, path: Path, max_batch: int) -> None:
        spec, device, stream = self._spec, self._device, self._stream
        fixed = spec.input.batch == max_batch
        freed = bool(spec.input.batch) and not fixed
        self._session = self._open(path, with_free_batch(path, max_batch) if freed else str(path))
        self.form = InputFormat(self._type_of(path, self._session.get_inputs()[0]))
        wanted = [o for o in self._session.get_outputs() if o.name in spec.head.outputs]
        kinds = {self._type_of(path, output) for output in wanted}
        if len(kinds) != 1:
            raise ModelError(f'{path}: expected outputs of one type, got {sorted(map(str, kinds))}')
        (self.output_dtype,) = kinds
        with stream:
            shape = self.form.shape(max_batch, spec.input.height, spec.input.width)
            self.input = device.zeros(shape, self.form.dtype)
            self.outputs = [
                device.zeros((max_batch, *shape), self.output_dtype)
                for shape in spec.head.shapes(spec.input)
            ]
        self._run_options = self._ort.RunOptions()
        self._run_options.add_run_config_entry('disable_synchronize_execution_providers', '1')
        self.sizes = [max_batch] if fixed else batch_sizes(max_batch)
        self._bindings = {size: self._bind(size) for size in self.sizes}
        stream.synchronize()

    def infer(self, images: int) -> None:
        """Enqueue the network for the first ``images`` images of the input tensor."""
        size = next(size for size in self.sizes if size >= images)
        self._session.run_with_iobinding(self._bindings[size], self._run_options)

    def close(self) -> None:
        """Let go of the session and all device memory; calling it twice is allowed."""
        self._bindings.clear()
        self._session = None
        self.input, self.outputs = None, []

    def _open(self, path: Path, model: str | bytes) -> Any:
        options = self._ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.add_session_config_entry('session.intra_op.allow_spinning', '0')
        options.log_severity_level = 3
        half = str(int(self._is_half(path)))
        cuda = {
            'device_id': str(self._device.index),
            'user_compute_stream': str(self._stream.ptr),
            # Trying every algorithm at every batch size would take minutes at start.
            'cudnn_conv_algo_search': 'HEURISTIC',
            # A float32 model is asked for float32 results. Without TF32, ONNX Runtime would keep a
            # float16 model off the tensor cores too.
            'use_tf32': half,
            # Tensor cores read channels last; bias and activation then cost no pass of their own.
            'prefer_nhwc': half,
            'fuse_conv_bias': half,
        }
        providers = [(_PROVIDER, cuda), _CPU]
        try:
            session = self._ort.InferenceSession(model, options, providers=providers)
        except Exception as error:
            raise ModelError(f'{path}: ONNX Runtime cannot load it: {error}') from error
        # ONNX Runtime goes on without a provider that it cannot load.
        if session.get_providers()[0] != _PROVIDER:
            raise MissingDependencyError(
                'ONNX Runtime could not start its CUDA provider (cuDNN and cuBLAS of its CUDA '
                f'version must be installed): {_INSTALL}'
            )
        return session

    def _is_half(self, path: Path) -> bool:
        options = self._ort.SessionOptions()
        options.graph_optimization_level = self._ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            plain = self._ort.InferenceSession(str(path), options, providers=[_CPU])
        except Exception as error:
            raise ModelError(f'{path}: ONNX Runtime cannot load it: {error}') from error
        return bool(plain.get_inputs()[0].type == 'tensor(float16)')

    def _type_of(self, path: Path, tensor: Any) -> Any:
        if tensor.type not in _TYPES:
            raise ModelError(
                f'{path}: {tensor.name}: expected {" or ".join(_TYPES)}, got {tensor.type}'
            )
        return np.dtype(_TYPES[tensor.type])

    def _bind(self, size: int) -> Any:
        binding = self._session.io_binding()
        index, address = self._device.index, self._device.address
        shape = (size, *self.input.shape[1:])
        binding.bind_input(
            self._spec.input.name, 'cuda', index, self.form.dtype, shape, address(self.input)
        )
        for name, output in zip(self._spec.head.outputs, self.outputs, strict=True):
            shape = (size, *output.shape[1:])
            binding.bind_output(name, 'cuda', index, self.output_dtype, shape, address(output))
        return binding


def _require_onnxruntime() -> Any:
    require_cupy()
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise MissingDependencyError(
            f'a cuda lane with this backend needs ONNX Runtime for GPUs: {_INSTALL}'
        ) from error
    if _PROVIDER not in ort.get_available_providers():
        raise MissingDependencyError(f'the installed ONNX Runtime has no {_PROVIDER}: {_INSTALL}')
    ort.set_default_logger_severity(3)  # it warns of plugins that nobody asked for
    # The libraries of NVIDIA's wheels are found only when asked for.
    if hasattr(ort, 'preload_dlls'):
        ort.preload_dlls()
    return ort


def batch_sizes(max_batch: int) -> list[int]:
    """Return the batch sizes that are run: powers of two, and the largest batch."""
    return sorted({max_batch, *(1 << i for i in range(max_batch.bit_length()))})
