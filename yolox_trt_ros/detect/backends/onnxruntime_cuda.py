"""ONNX Runtime's CUDA provider on the detector's stream, with buffers at fixed addresses."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from yolox_trt_ros.core.backends import BACKENDS
from yolox_trt_ros.core.errors import MissingDependencyError, ModelError
from yolox_trt_ros.core.model import ModelSpec
from yolox_trt_ros.core.prepared import PreparedModel
from yolox_trt_ros.core.steps import report_step
from yolox_trt_ros.detect.cuda.preprocess import InputFormat
from yolox_trt_ros.detect.cuda.runtime import SETUP_LOCK, CudaDevice, require_cupy
from yolox_trt_ros.detect.graph.free_batch import content_of, with_batch, with_free_batch
from yolox_trt_ros.onnx_files import computes_in_half

_TYPES = {'tensor(float)': np.float32, 'tensor(float16)': np.float16}
_NUMBERS = {f'tensor({name})': np.dtype(name) for name in ('int32', 'int64', 'uint8')}
_PROVIDER, _CPU = 'CUDAExecutionProvider', 'CPUExecutionProvider'
_INSTALL = BACKENDS['onnxruntime'].install['cuda']

_log = logging.getLogger(__name__)


class OnnxRuntimeCudaBackend:
    """Runs a model on one CUDA device; calls only enqueue.

    Several batch sizes are run, of which the smallest holds a batch. Each has a session of its own:
    ONNX Runtime keeps the plan of a convolution for the size that it ran last only, and a recorded
    CUDA graph launches kernels that such a plan owns. The first run of each size takes seconds,
    while cuDNN looks for algorithms and compiles; all sizes do so at once, a core each.

    Args:
        path: the model's ONNX file, for messages.
        spec: how it is fed and read.
        device: where it runs.
        stream: ``cupy.cuda.Stream`` that everything is enqueued on.
        max_batch: most images of one call.
        prepared: what is run in place of the file; None: the file in float32, or as its types are.
        options: of the CUDA provider, over those that are chosen here.
        sizes: of the batches that are run, ascending; None: those of :func:`batch_sizes`.

    Attributes:
        form: of the input: float32 or float16, ``nchw``.
        input: ``cupy.ndarray`` (max_batch, 3, height, width); written before :meth:`infer`.
        outputs: ``cupy.ndarray`` (max_batch, …) each, in the spec's order.
        segmentation: ``cupy.ndarray`` (max_batch, …), likewise; None: the model gives no masks.
        sizes: of the batches that are run.
        recordable: whether a recording is to be tried: whether ONNX Runtime puts the whole model
            on the device, and captures all of its kernels, that shows.

    Raises:
        MissingDependencyError: no ONNX Runtime, or one that cannot use the GPU.
        ModelError: ONNX Runtime cannot load the model, or its types are not supported.
        ConfigError: ``max_batch`` is not the model's batch size, and it works with no other.
    """

    recordable = True

    def __init__(
        self,
        path: Path,
        spec: ModelSpec,
        device: CudaDevice,
        stream: Any,
        max_batch: int,
        prepared: PreparedModel | None = None,
        options: Mapping[str, str] | None = None,
        sizes: Sequence[int] | None = None,
    ) -> None:
        self._ort = require_onnxruntime()
        self._path, self._spec = path, spec
        self._device, self._stream = device, stream
        self._tf32 = prepared is not None and prepared.precision != 'fp32'
        self._options = dict(options or {})
        self._sessions: dict[int, Any] = {}
        self._bindings: dict[int, Any] = {}
        with SETUP_LOCK:
            self._make(max_batch, prepared, sizes)
            self._run_all_once()

    def _make(
        self, max_batch: int, prepared: PreparedModel | None, sizes: Sequence[int] | None
    ) -> None:
        spec, device, stream, path = self._spec, self._device, self._stream, self._path
        fixed = spec.input.batch == max_batch
        if spec.input.batch and not fixed:
            self._content = with_free_batch(
                prepared.path if prepared else path, max_batch, spec.input
            )
        else:
            self._content = prepared.content if prepared else content_of(path, spec.input)
        self.sizes = [max_batch] if fixed else list(sizes or batch_sizes(max_batch))
        self._fixed = fixed
        session = self._session(max_batch)
        self.form = InputFormat(self._type_of(session.get_inputs()[0]))
        wanted = [o for o in session.get_outputs() if o.name in spec.head.outputs]
        integers = spec.head.integers()
        kinds = {self._type_of(o) for o in wanted if o.name not in integers}
        if len(kinds) != 1:
            raise ModelError(f'{path}: expected outputs of one type, got {sorted(map(str, kinds))}')
        (self.output_dtype,) = kinds
        shapes = spec.head.fixed(spec.input, max_batch)
        with stream:
            shape = self.form.shape(max_batch, spec.input.height, spec.input.width)
            self.input = device.zeros(shape, self.form.dtype)
            self.outputs = [
                device.zeros(shape, integers.get(name, self.output_dtype))
                for name, shape in zip(spec.head.outputs, shapes, strict=True)
            ]
            self.segmentation = self._new_masks(session, max_batch)
        self._run_options = self._ort.RunOptions()
        self._run_options.add_run_config_entry('disable_synchronize_execution_providers', '1')
        stream.synchronize()

    def _new_masks(self, session: Any, max_batch: int) -> Any:
        """Return memory for the maps of class masks; None: the model gives none."""
        masks = self._spec.segmentation
        if masks is None:
            return None
        output = next(o for o in session.get_outputs() if o.name == masks.output)
        dtype = _NUMBERS[output.type] if masks.integers else self._type_of(output)
        return self._device.zeros((max_batch, *masks.shape), dtype)

    def infer(self, images: int, masks: bool = False) -> None:
        """Enqueue the network for the first ``images`` images of the input tensor."""
        del masks  # recorded work computes all outputs
        size = next(size for size in self.sizes if size >= images)
        self._sessions[size].run_with_iobinding(self._bindings[size], self._run_options)

    def close(self) -> None:
        """Let go of the sessions and all device memory; calling it twice is allowed."""
        self._bindings.clear()
        self._sessions.clear()
        self._content = b''
        self.input, self.outputs, self.segmentation = None, [], None

    def _run_all_once(self) -> None:
        """Let every size find and compile its convolutions; what is computed means nothing."""
        begun = time.monotonic()
        report_step(f'finding convolutions: 0 of {len(self.sizes)} batch sizes done')
        with ThreadPoolExecutor(len(self.sizes), 'convolutions') as threads:
            # The largest first: it takes longest.
            running = [threads.submit(self._run_once, size) for size in self.sizes[::-1]]
            for done, one in enumerate(as_completed(running), 1):
                one.result()
                report_step(f'finding convolutions: {done} of {len(self.sizes)} batch sizes done')
        self._stream.synchronize()
        _log.info(
            '%s: convolutions for batches of %s were found in %.1f s on %s',
            self._path.name, ', '.join(map(str, self.sizes)), time.monotonic() - begun,
            self._device.name,
        )  # fmt: skip

    def _run_once(self, size: int) -> None:
        self._device.use()
        self._session(size)
        self._bindings[size] = self._bind(size)
        self._sessions[size].run_with_iobinding(self._bindings[size], self._run_options)

    def _session(self, size: int) -> Any:
        if size not in self._sessions:
            content = self._content if self._fixed else with_batch(self._content, size)
            self._sessions[size] = self._open(content)
        return self._sessions[size]

    def _open(self, content: bytes) -> Any:
        options = self._ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.add_session_config_entry('session.intra_op.allow_spinning', '0')
        options.log_severity_level = 3
        cuda = {
            'device_id': str(self._device.index),
            'user_compute_stream': str(self._stream.ptr),
            'arena_extend_strategy': 'kSameAsRequested',
            **provider_options(computes_in_half(onnx.load_from_string(content)), self._tf32),
            **self._options,
        }
        providers = [(_PROVIDER, cuda), _CPU]
        try:
            session = self._ort.InferenceSession(content, options, providers=providers)
        except Exception as error:
            raise ModelError(f'{self._path}: ONNX Runtime cannot load it: {error}') from error
        # ONNX Runtime goes on without a provider that it cannot load.
        if session.get_providers()[0] != _PROVIDER:
            raise MissingDependencyError(
                'ONNX Runtime could not start its CUDA provider (cuDNN and cuBLAS of its CUDA '
                f'version must be installed): {_INSTALL}'
            )
        return session

    def _type_of(self, tensor: Any) -> Any:
        if tensor.type not in _TYPES:
            raise ModelError(
                f'{self._path}: {tensor.name}: expected {" or ".join(_TYPES)}, got {tensor.type}'
            )
        return np.dtype(_TYPES[tensor.type])

    def _bind(self, size: int) -> Any:
        binding = self._session(size).io_binding()
        index, address = self._device.index, self._device.address
        shape = (size, *self.input.shape[1:])
        binding.bind_input(
            self._spec.input.name, 'cuda', index, self.form.dtype, shape, address(self.input)
        )
        head = self._spec.head
        shapes = head.batched(self._spec.input, size)
        for name, output, shape in zip(head.outputs, self.outputs, shapes, strict=True):
            binding.bind_output(name, 'cuda', index, output.dtype, shape, address(output))
        if (masks := self._spec.segmentation) is not None:
            maps = self.segmentation
            shape = (size, *masks.shape)
            binding.bind_output(masks.output, 'cuda', index, maps.dtype, shape, address(maps))
        return binding


def provider_options(half: bool, tf32: bool) -> dict[str, str]:
    """Return how ONNX Runtime's CUDA provider is asked to compute convolutions.

    Args:
        half: whether the model computes in float16.
        tf32: whether float32 may be computed with the short mantissa of tensor cores.
    """
    return {
        # What ONNX Runtime calls exhaustive is the finer of cuDNN's two rules for choosing a plan;
        # the other one picks badly for some batch sizes.
        'cudnn_conv_algo_search': 'EXHAUSTIVE',
        # Without TF32, ONNX Runtime would keep a float16 model off the tensor cores too.
        'use_tf32': str(int(half or tf32)),
        # Tensor cores read channels last; bias and activation then cost no pass of their own.
        'prefer_nhwc': str(int(half)),
        'fuse_conv_bias': str(int(half)),
    }


def require_onnxruntime() -> Any:
    """Return the ``onnxruntime`` module, if it can use a GPU.

    Raises:
        MissingDependencyError: it cannot, or is not installed, or CuPy is not.
    """
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
    """Return the batch sizes that are run: all up to 8, then two to each doubling, and the largest.

    A batch in between is run as the next larger one: with fewer sizes an image of a batch of 5
    would cost more than one of a batch of 4.
    """
    sizes = (*range(1, 9), 12, 16, 24, 32, 48)
    return [*(size for size in sizes if size < max_batch), max_batch]
