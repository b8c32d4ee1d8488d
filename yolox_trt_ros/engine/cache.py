"""Engines on disk: one file for each combination of settings, checked before it is used.

An engine fits one model, one TensorRT, one device and one set of options. All of these make its
key; the key's hash is part of the file's name, so that two settings never share a file. Beside each
engine lies a JSON file (its sidecar) with the key in clear and the engine's checksum.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from yolox_trt_ros.core.errors import EngineError
from yolox_trt_ros.core.output_files import drafts, replace_file
from yolox_trt_ros.core.printing import one_line
from yolox_trt_ros.core.text_files import member, parse_json
from yolox_trt_ros.engine.trust import UntrustedError, check_folder, open_lock, read_own

SIDECAR_FORMAT = 1
MOST_BYTES, MOST_SIDECAR_BYTES = 8 << 30, 16 << 20
MODE = 0o644
"""Of the files, whatever the umask is: those that a group may write are not trusted."""
Policy = Literal['auto', 'never']


@dataclass(frozen=True)
class EngineKey:
    """What an engine was built from, for and with; two engines with one key are the same.

    Attributes:
        model: name of the ONNX file, for people.
        model_sha256: of its content.
        tensorrt: flavour and version, such as ``tensorrt 10.3.0``.
        device_name: the GPU's, or the module's that a DLA is part of.
        compute_capability: of the GPU, such as ``8.7``; '' for a DLA.
        dla_core: number of the DLA core, or -1 for a GPU.
        precision: ``fp32``, ``fp16`` or ``int8``.
        calibration_sha256: of the file with the ranges; '' without one.
        batch: images of a call; dynamic: whether fewer are allowed.
        flags: everything else that was asked.
    """

    model: str
    model_sha256: str
    tensorrt: str
    device_name: str
    compute_capability: str
    dla_core: int
    precision: str
    calibration_sha256: str
    batch: int
    dynamic: bool
    flags: Mapping[str, Any]

    def stem(self) -> str:
        """Return the name of the engine's files, without suffix."""
        text = json.dumps(asdict(self), sort_keys=True)
        where = f'dla{self.dla_core}' if self.dla_core >= 0 else 'gpu'
        model = re.sub(r'[^\w.-]', '_', Path(self.model).stem)
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        return f'{model}-{where}-{self.precision}-b{self.batch}-{digest}'

    def differences(self, other: Mapping[str, Any]) -> list[str]:
        """Return the fields in which a sidecar's key is another, each with both values."""
        mine = asdict(self)
        return [
            f'{name} is {other.get(name)!r}, expected {mine[name]!r}'
            for name in (f.name for f in fields(self))
            if other.get(name) != mine[name]
        ]


@dataclass(frozen=True, slots=True)
class CachedEngine:
    """A verified engine.

    Attributes:
        path: its file.
        engine: its bytes, the very ones whose checksum was right.
        facts: what the sidecar says besides key and checksum.
        fresh: whether it was built just now.
    """

    path: Path
    engine: bytes
    facts: dict[str, Any]
    fresh: bool = False


class EngineCache:
    """A folder of engines that processes share.

    Args:
        folder: made when the first engine is written, for this user alone.
        trusted: whether engines are loaded whoever may write them.
        suffix: of their files; prepared ONNX models are kept in the same manner.
    """

    def __init__(self, folder: Path, trusted: bool = False, suffix: str = '.engine') -> None:
        self.folder, self.suffix = folder, suffix
        self._trusted = trusted
        self._what = 'engine' if suffix == '.engine' else 'prepared model'

    def path(self, key: EngineKey) -> Path:
        """Return where the engine of a key lies or would lie."""
        return self.folder / f'{key.stem()}{self.suffix}'

    def load(self, key: EngineKey) -> CachedEngine:
        """Return the engine of a key.

        Raises:
            UntrustedError: another user could have written it.
            EngineError: there is none, or it is damaged or not of this key; says which.
        """
        if not self._trusted:
            check_folder(self.folder)
        path = self.path(key)
        sidecar = self._sidecar(path)
        if differing := key.differences(sidecar['key']):
            raise EngineError(f'{path} was built for something else: {"; ".join(differing)}')
        engine = self.read(path)
        if len(engine) != sidecar['bytes']:
            raise EngineError(
                f'{path} is cut off or overwritten: expected {sidecar["bytes"]} bytes, got '
                f'{len(engine)}'
            )
        if hashlib.sha256(engine).hexdigest() != sidecar['sha256']:
            raise EngineError(f'{path} is damaged: its SHA-256 is not the one its JSON names')
        return CachedEngine(path, engine, sidecar['facts'])

    def read(self, path: Path, most_bytes: int = MOST_BYTES) -> bytes:
        """Return a file of the folder.

        Raises:
            UntrustedError: another user could have written it.
            EngineError: it cannot be read, or is no such file.
        """
        return read_own(path, most_bytes, self._trusted)

    def obtain(
        self,
        key: EngineKey,
        build: Callable[[], tuple[bytes, dict[str, Any]]],
        policy: Policy = 'auto',
        on_event: Callable[[str], None] = lambda message: None,
    ) -> CachedEngine:
        """Return the engine of a key, built if there is none that can be used.

        Of several processes that want the same engine one builds and the others wait for it.

        Args:
            key: which engine.
            build: returns the engine and what the sidecar shall say of it.
            policy: ``never``: do not build, raise instead.
            on_event: told why an engine is built, and when another process is waited for.

        Raises:
            EngineError: there is none and ``policy`` is ``never``; or the folder cannot be
                written, which is found out before the build.
        """
        try:
            return self.load(key)
        except UntrustedError:
            raise  # what is built would be no safer there
        except EngineError as error:
            reason = self._why(key, error)
        if policy == 'never':
            raise EngineError(
                f'{reason}; nothing is built, because engines.build is "never": run '
                '`python -m yolox_trt_ros build` with these settings on this machine'
            )
        with self._locked(key, on_event):
            with suppress(EngineError):  # another process may have built it meanwhile
                return self.load(key)
            on_event(f'{reason}: building it')
            self._remove_drafts(key)
            self._check_writable()
            engine, facts = build()
            self._store(key, engine, facts)
            return replace(self.load(key), fresh=True)

    def _why(self, key: EngineKey, error: EngineError) -> str:
        """Return why the engine of a key cannot be used; names a stale one if there is one."""
        if not isinstance(error.__cause__, FileNotFoundError) or self.path(key).exists():
            return str(error)
        stale = ''
        for file in sorted(self.folder.glob(f'{key.stem().rpartition("-b")[0]}-*{self.suffix}')):
            with suppress(EngineError):
                differing = key.differences(self._sidecar(file)['key'])
                stale = f' ({file.name} is there, but its {"; its ".join(differing)})'
        return f'there is no {self._what} for these settings in {self.folder}{stale}'

    @contextmanager
    def _locked(self, key: EngineKey, on_event: Callable[[str], None]) -> Iterator[None]:
        """Hold the key's lock, which the kernel takes back from a process that dies."""
        path = self.path(key).with_suffix('.lock')
        try:
            for missing in [f for f in (*self.folder.parents[::-1], self.folder) if not f.exists()]:
                missing.mkdir(mode=0o700, exist_ok=True)
            handle = open_lock(path)
        except OSError as error:
            raise self._unwritable(error) from error
        with os.fdopen(handle, 'ab') as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                on_event(f'another process is building {self.path(key).name}: waiting for it')
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _remove_drafts(self, key: EngineKey) -> None:
        """Remove what a killed process was writing under the key's lock, which is held."""
        for suffix in (self.suffix, '.json'):
            for draft in drafts(self.path(key).with_suffix(suffix)):
                with suppress(OSError):
                    draft.unlink()

    def _check_writable(self) -> None:
        """Find out before a build of minutes whether its result can be kept at all."""
        try:
            with tempfile.TemporaryFile(dir=self.folder) as probe:
                probe.write(b'\0' * 4096)
                probe.flush()
        except OSError as error:
            raise self._unwritable(error) from error

    def _store(self, key: EngineKey, engine: bytes, facts: dict[str, Any]) -> None:
        sidecar = {
            'format': SIDECAR_FORMAT,
            'key': asdict(key),
            'bytes': len(engine),
            'sha256': hashlib.sha256(engine).hexdigest(),
            'facts': facts,
        }
        path = self.path(key)
        try:
            # A reader that comes between the two finds a checksum that is not right, and waits
            # for the lock.
            replace_file(path, engine, mode=MODE, durable=True)
            text = json.dumps(sidecar, indent=1)
            replace_file(path.with_suffix('.json'), text.encode(), mode=MODE, durable=True)
        except OSError as error:
            raise EngineError(
                f'the {self._what} was built, but its {len(engine) >> 20} MiB cannot be kept in '
                f'{self.folder}: {error.strerror}: make room, or set engines.folder'
            ) from error

    def _sidecar(self, engine: Path) -> dict[str, Any]:
        """Return the checked content of the JSON beside an engine.

        Raises:
            EngineError: it is missing or not such a file.
        """
        path = engine.with_suffix('.json')
        try:
            text = self.read(path, MOST_SIDECAR_BYTES).decode()
        except UnicodeDecodeError as error:
            raise EngineError(f'{path}: expected UTF-8: {error}') from error
        content = parse_json(text, one_line(path), EngineError)
        wanted = {'format': int, 'key': dict, 'bytes': int, 'sha256': str, 'facts': dict}
        for name, kind in wanted.items():
            member(content, name, kind, f'{one_line(path)} is damaged', EngineError)
        if content['format'] != SIDECAR_FORMAT:
            raise EngineError(
                f'{path} is of format {content["format"]}, this version reads {SIDECAR_FORMAT}'
            )
        return content

    def _unwritable(self, error: OSError) -> EngineError:
        return EngineError(
            f'the engine cache {self.folder} cannot be written: {error.strerror}: make it '
            'writable, or set engines.folder'
        )
