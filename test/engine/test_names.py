"""Every name of TensorRT's that the code uses exists in the versions that it is meant for.

The names are read from the source, so that none is forgotten. The bindings of 8.6 to 11.4 are the
real ones; of 8.5, which no supported Python can import, the names in the file are compared.
"""

from __future__ import annotations

import ast
import hashlib
import http.client
import io
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from bindings import ask, empty_libraries
from tensorrt_wheels import ROOT, WHEELS, installed

PACKAGE = ROOT / 'yolox_trt_ros'
# Which expression is an object of which class, in each file that talks to TensorRT.
OBJECTS = {
    'engine/tensorrt_versions.py': {
        'module': '', 'self.module': '', 'builder': 'Builder', 'severity': 'ILogger.Severity',
        'flags': 'NetworkDefinitionCreationFlag', 'config': 'IBuilderConfig',
        'sources': 'TacticSource',
    },
    'engine/builder.py': {
        'module': '', 'tensorrt.module': '', 'builder': 'Builder', 'network': 'INetworkDefinition',
        'config': 'IBuilderConfig', 'x': 'ILayer', 'cache': 'ITimingCache', 'flags': 'BuilderFlag',
        'pools': 'MemoryPoolType',
    },
    'engine/network.py': {
        'module': '', 'tensorrt.module': '', 'builder': 'Builder', 'network': 'INetworkDefinition',
        'config': 'IBuilderConfig', 'parser': 'OnnxParser', 'profile': 'IOptimizationProfile',
        'image': 'ITensor', 'tensor': 'ITensor', 'output': 'ITensor', 'layer': 'ILayer',
        'x': 'ILayer', 'x.get_output(0)': 'ITensor', 'error': 'ParserError',
        'formats': 'TensorFormat',
    },
    'detect/backends/tensorrt.py': {
        'self._module': '', 'engine.module': '', 'self._engine': 'ICudaEngine',
        'engine': 'ICudaEngine', 'runtime': 'Runtime', 'context': 'IExecutionContext',
        'inspector': 'EngineInspector',
    },
    'detect/backends/tensorrt_tensors.py': {
        'engine': 'ICudaEngine', 'context': 'IExecutionContext',
    },
    'detect/backends/tensorrt_run.py': {
        'self._engine': 'ICudaEngine', 'self._context': 'IExecutionContext',
    },
}  # fmt: skip
# Fields of our own classes whose variables bear one of those names.
OURS = {'ICudaEngine.module', 'ICudaEngine.logger', 'ICudaEngine.content', 'ICudaEngine.name',
        'ICudaEngine.quanta'}  # fmt: skip
# What the code asks for before it uses it, or uses only where `strong_typing` is not "always".
WEAK = {
    'BuilderFlag.FP16', 'BuilderFlag.INT8', 'BuilderFlag.PREFER_PRECISION_CONSTRAINTS',
    'IInt8EntropyCalibrator2', 'IBuilderConfig.int8_calibrator', 'ITensor.dynamic_range',
    'ILayer.precision', 'ILayer.set_output_type',
}  # fmt: skip
# Asked for only where `PreviewFeature` has the name that goes with them.
SOURCES = {'TacticSource.CUBLAS', 'TacticSource.CUBLAS_LT', 'TacticSource.CUDNN'}
MISSING = {
    '8.6.1': {
        'NetworkDefinitionCreationFlag.STRONGLY_TYPED',
        'IProgressMonitor',
        'IBuilderConfig.progress_monitor',
    },
    '10.0.1': set(),
    '10.3.0': set(),
    '10.7.0': set(),
    '10.16.1': set(),
    '11.4.0': {*WEAK, *SOURCES, 'NetworkDefinitionCreationFlag.EXPLICIT_BATCH'},
}
TYPING = {'8.6.1': 'never', '11.4.0': 'always'}
OLDEST = 'https://files.pythonhosted.org/packages/3e/d5/5f9dd454a89f5bf09c3740c649ba6c8dd685cae98a1255299a2e1dbac606/tensorrt-8.5.3.1-cp310-none-manylinux_2_17_x86_64.whl'
OLDEST_SHA256 = '50ccd4f386cb5eae7bebca6322f3d658c34c7a86c529e08320dfe38b16bd7141'


def used() -> set[str]:
    """Return the dotted names that the code uses."""
    names = set()
    for file, objects in OBJECTS.items():
        tree = ast.parse((PACKAGE / file).read_text(encoding='utf-8'))
        names |= {name for node in ast.walk(tree) for name in attribute(node, objects)}
    return {name for name in names - OURS if '__' not in name}


def attribute(node: ast.AST, objects: dict[str, str]) -> Iterator[str]:
    if not isinstance(node, ast.Attribute) or node.attr.startswith('__'):
        return
    owner = node.value
    if ast.unparse(owner) in objects:
        yield f'{objects[ast.unparse(owner)]}.{node.attr}'.lstrip('.')
    elif isinstance(owner, ast.Attribute) and objects.get(ast.unparse(owner.value)) == '':
        yield f'{owner.attr}.{node.attr}'  # module.BuilderFlag.TF32


def test_names_are_found_in_the_source() -> None:
    names = used()
    assert len(names) > 80
    assert {
        'IExecutionContext.execute_async_v3', 'ICudaEngine.get_tensor_format', 'Runtime.DLA_core',
        'IBuilderConfig.can_run_on_DLA', 'ITensor.allowed_formats', 'BuilderFlag.GPU_FALLBACK',
        'MemoryPoolType.DLA_MANAGED_SRAM', 'IProgressMonitor', 'TensorFormat.CHW32', *WEAK,
    } <= names  # fmt: skip


def test_every_version_is_asked() -> None:
    assert {f.stem.removeprefix('tensorrt-') for f in WHEELS.glob('tensorrt-*.txt')} == set(MISSING)


@pytest.mark.parametrize('version', MISSING)
def test_names_exist(version: str, tmp_path: Path) -> None:
    bindings = installed(f'tensorrt-{version}')
    libraries = empty_libraries(tmp_path, int(version.partition('.')[0]))
    answer = ask(bindings, libraries, sorted(used()))
    assert answer['version'].startswith(version)
    assert set(answer['missing']) == MISSING[version]
    assert answer['strong_typing'] == TYPING.get(version, 'option')
    assert answer['shares_profiles'] and answer['monitor'] is (version != '8.6.1')
    assert answer['cache'] == (None if version == '11.4.0' else 'cache')
    assert 'does not start on this machine' in answer['builder']


class Remote(io.RawIOBase):
    """A file on a server, of which only what is read is fetched."""

    def __init__(self, url: str) -> None:
        self._url, self._at = url, 0
        with urllib.request.urlopen(urllib.request.Request(url, method='HEAD'), timeout=20) as head:
            self._size = int(head.headers['Content-Length'])

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        end = self._size if size < 0 else min(self._size, self._at + size)
        if end <= self._at:
            return b''
        wanted = {'Range': f'bytes={self._at}-{end - 1}'}
        with urllib.request.urlopen(
            urllib.request.Request(self._url, headers=wanted), timeout=20
        ) as answer:
            if answer.status != http.client.PARTIAL_CONTENT:
                raise OSError('the server sends whole files only')
            content: bytes = answer.read()
        self._at += len(content)
        return content


def test_names_of_the_oldest_version() -> None:
    """TensorRT 8.5, of JetPack 5: the names must at least be written in its bindings."""
    try:
        with zipfile.ZipFile(Remote(OLDEST)) as wheel:  # type: ignore[arg-type]
            library = wheel.read('tensorrt/tensorrt.so')
    except (OSError, urllib.error.URLError, zipfile.BadZipFile) as error:
        pytest.skip(f'the wheel of TensorRT 8.5 cannot be read: {error}')
    assert hashlib.sha256(library).hexdigest() == OLDEST_SHA256
    parts = {part for name in used() for part in name.split('.')}
    missing = {part for part in parts if part.encode() + b'\0' not in library}
    assert missing == {
        'STRONGLY_TYPED', 'IProgressMonitor', 'progress_monitor', 'builder_optimization_level',
    }  # fmt: skip
