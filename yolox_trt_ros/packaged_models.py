"""Find models by name: those that ship with the package or were pulled, and their cut forms.

``edge_n_cut`` is the packaged ``edge_n.onnx`` as ``optimize edge_n`` writes it. It is made once and
kept in the cache folder, under a key of everything that it depends on.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from yolox_trt_ros import __version__
from yolox_trt_ros.core.errors import ConfigError, YoloxTrtRosError
from yolox_trt_ros.core.output_files import write_whole
from yolox_trt_ros.core.resources import (
    cache_folder,
    find_resource,
    resource_folders,
    resource_names,
)
from yolox_trt_ros.published_models.catalogue import FIRST
from yolox_trt_ros.published_models.kept import kept_file

if TYPE_CHECKING:
    from onnx import ModelProto

CUT = '_cut'
"""End of the name of a model that ends at its head's convolutions, so that a DLA runs all of it."""

_log = logging.getLogger(__name__)


def find_model(name: str, on_event: Callable[[str], None] = _log.info) -> Path:
    """Return the ONNX file a user means by a path or by the name of a packaged model.

    Args:
        name: a path, or the name of a packaged or pulled model with or without ``.onnx``; with
            ``_cut`` at its end the cut form, which is made now if the cache folder has none.
        on_event: called with a line for the log where it is made.

    Returns:
        An existing file if there is one, otherwise ``name`` as a path.

    Raises:
        ModelError: the packaged model cannot be cut.
        ConfigError: the cache folder cannot be written.
        MissingDependencyError: making needs the packages onnx and onnxscript.
    """
    path = find_resource('models', name, '.onnx')
    stem = name.removesuffix('.onnx')
    if path.is_file() or '/' in name:
        return path
    if (pulled := kept_file(stem)) is not None:
        return pulled
    if not stem.endswith(CUT):
        return path
    if (pulled := kept_file(stem.removesuffix(CUT))) is not None:
        return _cut_form(pulled, on_event)
    for folder in resource_folders('models'):
        whole = folder / f'{stem.removesuffix(CUT)}.onnx'
        if whole.is_file():
            return _cut_form(whole, on_event)
    return path


def model_names() -> list[str]:
    """Return the names that :func:`find_model` knows, those of cut forms too."""
    packaged = resource_names('models', '.onnx')
    return sorted({*packaged, *(f'{n}{CUT}' for n in packaged if not n.endswith(CUT))})


def caution(file: Path) -> str:
    """Return what a user of a packaged model has to know; empty: it is another model."""
    folders = [*resource_folders('models'), cache_folder('models')]
    packaged = {f'{name}.onnx' for name in model_names()}
    if file.name not in packaged or not any(file.is_relative_to(folder) for folder in folders):
        return ''
    return (
        f'{file.stem} has only seen the rendered world of camera_sim, and finds little in pictures '
        f'of real cameras. For these: python -m yolox_trt_ros models pull {FIRST}, then --model '
        f'{FIRST} (model.path of a vehicle)'
    )


def _cut_form(whole: Path, on_event: Callable[[str], None]) -> Path:
    """Return the file in the cache folder; processes that make it at once write the same."""
    file = cache_folder('models') / _key(whole) / f'{whole.stem}{CUT}.onnx'
    if os.path.isfile(file):  # False, too, where the folder may not be read
        return file
    model = _cut(whole)
    try:
        write_whole(file, model.SerializeToString())
    except YoloxTrtRosError as error:
        raise ConfigError(
            f'{error}; {file.stem} is made from {whole.name} and kept there: set XDG_CACHE_HOME to '
            'a writable folder'
        ) from error
    on_event(f'{file.stem} was made from {whole}, once; kept as {file}')
    return file


def _key(whole: Path) -> str:
    from yolox_trt_ros.detect.description import sidecar_of

    digest = hashlib.sha256(__version__.encode())
    for file in (whole, sidecar_of(whole), whole.with_name('labels.txt')):
        if file.is_file():
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _cut(whole: Path) -> ModelProto:
    """Return the cut form, its description in its metadata."""
    from yolox_trt_ros.detect.description import describe, description_of
    from yolox_trt_ros.detect.labels import labels_of
    from yolox_trt_ros.detect.model import head_cut
    from yolox_trt_ros.engine.onnx_file import check_onnx, read_onnx
    from yolox_trt_ros.engine.surgery.optimize import operate

    original = read_onnx(whole)
    about = description_of(whole, original)
    surgery = operate(original, lambda model: head_cut(whole, model, about))
    about.pop('outputs', None)
    labels = labels_of(whole, None, about.get('labels'), surgery.cut.classes)
    describe(surgery.final, {**about, 'labels': list(labels), **surgery.cut.about})
    check_onnx(surgery.final, whole)
    return surgery.final
