"""Pulled models on this machine: where they are, and whether they are what they were."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from yolox_trt_ros.core.errors import YoloxTrtRosError
from yolox_trt_ros.core.output_files import write_whole
from yolox_trt_ros.core.printing import one_line
from yolox_trt_ros.core.resources import cache_folder
from yolox_trt_ros.core.text_files import read_json
from yolox_trt_ros.published_models.catalogue import CATALOGUE, PublishedFile, PublishedModel
from yolox_trt_ros.published_models.download import (
    DownloadError,
    Progress,
    digest_of,
    fetch,
    looks_like,
)

CHECKSUMS = 'checksums.json'
"""Checksums of all files that were ever pulled into a folder, by URL."""
_quiet: Progress = lambda done, size: None  # noqa: E731


def models_folder() -> Path:
    """Return where pulled models are kept unless somebody says otherwise."""
    return cache_folder('published')


def kept_file(name: str, folder: Path | None = None) -> Path | None:
    """Return the file of a model that was pulled; None: it was not."""
    model = CATALOGUE.get(name)
    if model is None:
        return None
    file = _file(folder or models_folder(), model)
    return file if file.is_file() else None


def pull(
    model: PublishedModel,
    folder: Path,
    mirrors: Sequence[str] = (),
    *,
    accept: bool = False,
    progress: Progress = _quiet,
    on_event: Callable[[str], None] = lambda text: None,
    pause_s: float = 1.0,
) -> Path:
    """Fetch a model, its labels and what describes it; what is there already is only checked.

    Args:
        model: of the catalogue.
        folder: where to; the model gets a folder in it.
        mirrors: servers (``https://…/folder``) and folders that are asked for the files, by their
            names, before the model's own server is.
        accept: take a file whose checksum is another than it was, and remember the new one.
        progress: of the model's file.
        on_event: called with what is worth a line.
        pause_s: see :func:`download.fetch`.

    Returns:
        The model's file.

    Raises:
        DownloadError: nobody has the file, or its checksum is wrong.
        YoloxTrtRosError: the folder cannot be written.
    """
    file = _file(folder, model)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        known = _Checksums(folder)
        if model.labels_file:
            labels = file.with_name('labels.txt')
            _obtain(model.labels_file, labels, mirrors, known, accept, _quiet, on_event, pause_s)
        _obtain(model.file, file, mirrors, known, accept, progress, on_event, pause_s)
    except OSError as error:
        raise YoloxTrtRosError(f'{one_line(file)}: {error.strerror}: see --folder') from error
    if model.runs:
        write_whole(file.with_suffix('.yaml'), _sidecar(model, known.of(model.file)))
    return file


def _file(folder: Path, model: PublishedModel) -> Path:
    return folder / model.name / f'{model.name.removesuffix(".pth")}{Path(model.file.name).suffix}'


def _obtain(
    wanted: PublishedFile,
    file: Path,
    mirrors: Sequence[str],
    known: _Checksums,
    accept: bool,
    progress: Progress,
    on_event: Callable[[str], None],
    pause_s: float,
) -> None:
    if file.is_file():
        known.check(wanted, file, accept, 'remove it and pull again')
        on_event(f'{one_line(file)} is there, and unchanged')
        return
    fresh = file.with_name(f'{file.name}.new')
    problems = []
    for place in (*mirrors, ''):
        url = f'{place.rstrip("/")}/{wanted.name}' if place else wanted.url
        try:
            fetch(url, fresh, progress, pause_s)
            break
        except DownloadError as error:
            problems.append(str(error))
            if place:  # there is another one to ask
                on_event(str(error))
    else:
        raise DownloadError('\n'.join(dict.fromkeys(problems)))
    try:
        known.check(wanted, fresh, accept, 'if the new one is meant, pull with --accept-changed')
    except DownloadError as error:
        seems = looks_like(fresh)
        fresh.unlink()
        raise DownloadError(f'{one_line(url)}: {error}; it is {seems}') from error
    fresh.replace(file)
    on_event(f'{one_line(url)} → {one_line(file)}')


class _Checksums:
    """What files had for checksums when they first came; kept in the folder of the models."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / CHECKSUMS
        self._known: dict[str, Any] = read_json(self._file) if self._file.is_file() else {}

    def of(self, wanted: PublishedFile) -> str:
        """Return the checksum that a file has to have; empty: any."""
        return str(self._known.get(wanted.url, wanted.digest))

    def check(self, wanted: PublishedFile, file: Path, accept: bool, advice: str) -> None:
        """Compare a file's checksum with the one that it should have; remember a first one.

        Raises:
            DownloadError: it differs.
        """
        expected = self.of(wanted)
        found = digest_of(file, expected.partition(':')[0] or 'sha256')
        if expected and found != expected and not accept:
            raise DownloadError(
                f'{one_line(file.name)}: expected {expected}, got {found}: it was changed or '
                f'damaged; {advice}'
            )
        if self._known.get(wanted.url) != found:
            self._known[wanted.url] = found
            write_whole(self._file, json.dumps(self._known, indent=1, sort_keys=True) + '\n')


def _sidecar(model: PublishedModel, digest: str) -> str:
    """Return the YAML beside a model: what its file does not say, and where it is from."""
    lines = [
        f'# {model.about}',
        f'# from {model.file.url}',
        f'# {digest}',
        f'# licence: {model.licence}; {model.source}',
    ]
    if model.labels:
        lines.append(f'labels: {json.dumps(list(model.labels))}')
    return '\n'.join(lines) + '\n'
