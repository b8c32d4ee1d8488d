"""Ask real TensorRT bindings, in a process of their own, what they have.

NVIDIA publishes the Python bindings of TensorRT on PyPI without its libraries. To be imported they
need libraries of the right names with a dozen C functions, which are never called here: a compiler
makes empty ones.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = ('nvinfer', 'nvinfer_plugin', 'nvonnxparser', 'nvparsers')
FUNCTIONS = (
    'createInferBuilder_INTERNAL',
    'createInferRefitter_INTERNAL',
    'createInferRuntime_INTERNAL',
    'createNvOnnxParser_INTERNAL',
    'createNvOnnxParserRefitter_INTERNAL',
    'getBuilderPluginRegistry',
    'getNvOnnxParserVersion',
    'getPluginRegistry',
    'initLibNvInferPlugins',
    '_ZN11nvuffparser15createUffParserEv',
    '_ZN11nvuffparser8FieldMapC1EPKcPKvNS_9FieldTypeEi',
    '_ZN14nvcaffeparser117createCaffeParserEv',
    '_ZN14nvcaffeparser123shutdownProtobufLibraryEv',
)
PROGRAM = """
import json, sys
import tensorrt_bindings as module
from yolox_trt_ros.core.errors import EngineError
from yolox_trt_ros.engine.progress import Phases
from yolox_trt_ros.engine.tensorrt_versions import TensorRT

def missing(name):
    value = module
    for part in name.split('.'):
        if not hasattr(value, part):
            return True
        value = getattr(value, part)
    return False

tensorrt = TensorRT(module)
try:
    answer = str(tensorrt.builder())
except EngineError as error:
    answer = str(error)
monitor = tensorrt.reports_progress and tensorrt.monitor(Phases(print), lambda: True)
calibrator = tensorrt.calibrator(b'cache') if hasattr(module, 'IInt8EntropyCalibrator2') else None
print(json.dumps({
    'version': tensorrt.version,
    'strong_typing': tensorrt.strong_typing,
    'shares_profiles': tensorrt.shares_profiles,
    'monitor': bool(monitor) and not monitor.step_complete('x', 0),
    'cache': calibrator and calibrator.read_calibration_cache().decode(),
    'builder': answer,
    'missing': [name for name in json.loads(sys.stdin.read()) if missing(name)],
}))
"""


def empty_libraries(folder: Path, version: int) -> Path:
    """Make libraries with TensorRT's names that have its functions and do nothing."""
    compiler = shutil.which('gcc') or shutil.which('cc') or shutil.which('clang')
    if compiler is None:
        raise FileNotFoundError('no C compiler')
    code = '\n'.join(f'void *{name}(void) {{ return 0; }}' for name in FUNCTIONS)
    for name in LIBRARIES:
        library = f'lib{name}.so.{version}'
        command = [compiler, '-shared', '-fPIC', '-x', 'c', '-', '-o', str(folder / library)]
        subprocess.run([*command, f'-Wl,-soname,{library}'], input=code, text=True, check=True)
    return folder


def ask(bindings: Path, libraries: Path, names: list[str]) -> dict[str, Any]:
    """Return what the bindings are, and which of the dotted names they lack."""
    environ = {
        **os.environ,
        'LD_LIBRARY_PATH': str(libraries),
        'PYTHONPATH': os.pathsep.join([str(ROOT), str(bindings)]),
    }
    done = subprocess.run(
        [sys.executable, '-c', PROGRAM],
        input=json.dumps(names), capture_output=True, text=True, env=environ, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
