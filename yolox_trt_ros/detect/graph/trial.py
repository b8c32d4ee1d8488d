"""Run a model once in a process of its own, whose memory and time are limited.

For graphs whose file does not say how large its tensors get. The child imports nothing of this
package: it is this file, run as a program.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

PATIENCE_S = 120.0
"""Far more than one image takes on the slowest machine."""


class TrialError(Exception):
    """The model did not run within the limits; the message says why, as part of a sentence."""


def measured_shapes(
    path: Path,
    shape: Sequence[int],
    names: Sequence[str],
    most_bytes: int,
    further: Mapping[str, np.ndarray] = MappingProxyType({}),
) -> dict[str, tuple[int, ...]]:
    """Return the shapes of tensors of a model that is run on a black image.

    Args:
        path: the ONNX file.
        shape: of its input.
        names: of outputs, or of tensors inside the graph.
        most_bytes: what the process may take.
        further: what its inputs beside the image get.

    Raises:
        TrialError: it ran out of memory or time, or ONNX Runtime refuses the model or is missing.
    """
    task = json.dumps(
        {
            'path': str(path),
            'shape': list(shape),
            'names': list(names),
            'bytes': most_bytes,
            'further': {n: (v.dtype.name, v.tolist()) for n, v in further.items()},
        }
    )
    try:
        done = subprocess.run(
            [sys.executable, __file__],
            input=task, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise TrialError(f'one image took longer than {PATIENCE_S:g} s') from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        why = lines[-1][:300] if lines else f'its process ended with {done.returncode}'
        raise TrialError(f'it does not run within {most_bytes >> 20} MiB: {why}')
    shapes = json.loads(done.stdout.splitlines()[-1])
    return {name: tuple(found) for name, found in shapes.items()}


def _run(task: dict[str, object]) -> dict[str, list[int]]:
    import os
    import resource

    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        resource.setrlimit(kind, (int(str(task['bytes'])),) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(10)
    import numpy as np
    import onnx
    import onnxruntime as ort

    model = onnx.load(str(task['path']))
    names = list(task['names'])  # type: ignore[call-overload]
    sizes = [f'{name}__shape' for name in names]
    for name, size in zip(names, sizes, strict=True):
        model.graph.node.append(onnx.helper.make_node('Shape', [name], [size]))
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=size) for size in sizes)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    # As it stands, so that every tensor that was asked for exists.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=['CPUExecutionProvider']
    )
    further = {n: np.array(v, t) for n, (t, v) in dict(task['further']).items()}  # type: ignore[call-overload]
    (image,) = (i for i in session.get_inputs() if i.name not in further)
    kinds = {'tensor(float)': np.float32, 'tensor(float16)': np.float16, 'tensor(uint8)': np.uint8}
    black = np.zeros(task['shape'], kinds[image.type])  # type: ignore[call-overload]
    results = session.run(sizes, {image.name: black, **further})
    return {name: result.tolist() for name, result in zip(names, results, strict=True)}


if __name__ == '__main__':
    try:
        print(json.dumps(_run(json.loads(sys.stdin.read()))))
    except MemoryError:
        sys.exit('it asks for more memory')
    except Exception as error:
        sys.exit(' '.join(str(error).split()) or type(error).__name__)
