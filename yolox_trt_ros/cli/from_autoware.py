"""A vehicle file from the parameter files of Autoware's YOLOX node, and what became of each key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolox_trt_ros.cli.autoware_keys import (
    GROUPS,
    TAKEN,
    Draft,
    put_device,
    put_iou,
    put_score,
)
from yolox_trt_ros.core.errors import ConfigError, did_you_mean
from yolox_trt_ros.core.printing import one_line, shown
from yolox_trt_ros.vehicle_files import flatten
from yolox_trt_ros.yaml_files import read_yaml

IMAGES = '/sensing/camera/camera{i}/image_rect_color'
MASKS = '/perception/object_recognition/detection/mask{i}'
ROIS = '/perception/object_recognition/detection/rois{i}'
_WHAT = 'a parameter file of Autoware'
WANTED = (
    ('model_path', '--model', 'their ONNX file'),
    ('label_path', '--labels', 'label.txt'),
    ('roi_remap_path', '--class-map', 'roi_label_remap.csv'),
)
"""Keys that their launch files give, the options in their place, and what they name."""


@dataclass(frozen=True, slots=True)
class Given:
    """One key of a file."""

    key: str
    value: Any
    file: Path


def read_files(files: Sequence[Path]) -> list[Given]:
    """Return the keys of parameter files, in order; those of a manifest are those of its files.

    Raises:
        ConfigError: a file is missing, or is no such file.
    """
    given: list[Given] = []
    for file in files:
        content = read_yaml(file, what=_WHAT)
        listed = content.get('config_files')
        if not isinstance(listed, list):
            given += _keys_of(content, file)
            continue
        for name in listed:  # parameters.manifest.yaml
            given += _keys_of(read_yaml(file.parent / str(name), what=_WHAT), file.parent / name)
    if not given:
        raise ConfigError(f'{", ".join(map(one_line, files))}: expected parameters, got none')
    return given


def _keys_of(content: dict[Any, Any], file: Path) -> list[Given]:
    sections = [c['ros__parameters'] for c in content.values() if _is_section(c)]
    return [Given(k, v, file) for section in sections or [content] for k, v in flatten('', section)]


def _is_section(content: Any) -> bool:
    return isinstance(content, dict) and isinstance(content.get('ros__parameters'), dict)


def draft_of(given: Sequence[Given]) -> Draft:
    """Return what becomes of their keys.

    Raises:
        ConfigError: a value is not of its key's type.
    """
    draft = Draft({one.key: one.value for one in given if one.value is not None})
    order = {key: number for number, key in enumerate(TAKEN)}
    for key in sorted(draft.values, key=lambda key: order.get(key, len(order))):
        what = TAKEN.get(key)
        group = next((w for p, w in GROUPS.items() if key.startswith(p)), None)
        if group is not None:
            draft.became[key] = group(draft, key, draft.values[key])
        elif what is None:
            draft.unknown[key] = did_you_mean(key, TAKEN)
        else:
            draft.became[key] = what if isinstance(what, str) else what(draft, draft.values[key])
    for become in (put_score, put_iou, put_device):  # have values all the same
        become(draft, None)
    draft.put('model.class_agnostic', True)
    for key, option, what in WANTED:
        if key not in draft.values:
            draft.todo.append(f'give {option}, {what}: no file says {key}')
    return draft


def add_cameras(
    draft: Draft, count: int, images: str = IMAGES, rois: str = ROIS, compressed: bool = False
) -> None:
    """Give a draft its cameras.

    Args:
        draft: gets them.
        count: how many.
        images, rois: topics, with ``{i}`` for the number.
        compressed: whether images are taken before Autoware's decompressor.
    """
    names = [f'camera{i}' for i in range(count)]
    outputs = ['objects', 'debug_times', 'detections', *draft.masks]
    draft.parameters |= {'camera_names': names, 'outputs': outputs}
    if draft.masks:
        draft.parameters['mask_format'] = 'rle'
    suffix, transport = ('/compressed', 'compressed') if compressed else ('', 'raw')
    for i, name in enumerate(names):
        draft.parameters |= {
            f'cameras.{name}.topic': images.replace('{i}', str(i)) + suffix,
            f'cameras.{name}.transport': transport,
            f'cameras.{name}.objects_topic': rois.replace('{i}', str(i)),
        }
        if draft.crops:
            draft.parameters[f'cameras.{name}.crops'] = [*draft.crops]
        if draft.masks:
            draft.parameters[f'cameras.{name}.mask_topic'] = MASKS.replace('{i}', str(i))
    lane = f'lanes.{draft.lane}'
    if draft.lane == 'gpu':
        places = count * (1 + len(draft.crops))
        draft.parameters |= {f'{lane}.max_batch': places, f'{lane}.in_flight': 2}
    draft.parameters['lane_names'] = [draft.lane]


def report_of(draft: Draft, given: Sequence[Given]) -> Iterator[str]:
    """Yield line by line what became of each key, and what is left to do."""
    last = {one.key: one for one in given}
    for file in dict.fromkeys(one.file for one in given):
        yield f'{one_line(file)}:'
        for one in (one for one in given if one.file == file):
            if one is not last[one.key]:
                what = f'nothing: {one_line(last[one.key].file)} says it again'
            elif one.value is None:
                what = 'nothing: it has no value'
            else:
                what = draft.became.get(one.key) or f'UNKNOWN{draft.unknown.get(one.key, "")}'
            yield f'  {one_line(one.key)}: {shown(one.value)} -> {what}'
    yield 'Set without a key: model.class_agnostic, as suppression is there.'
    if draft.todo:
        yield 'To do:'
        yield from (f'  {i}. {text}' for i, text in enumerate(draft.todo, 1))
