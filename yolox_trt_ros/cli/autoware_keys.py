"""What becomes of each key of Autoware's YOLOX node in a vehicle file.

The keys are those of ``autoware_tensorrt_yolox`` 0.30 to 0.52 and of tier4's branch, as
``tensorrt_yolox_node.cpp``, the files in its ``config`` and its launch files name them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from yolox_trt_ros.core.errors import ConfigError, YoloxTrtRosError
from yolox_trt_ros.core.printing import one_line, shown
from yolox_trt_ros.detect.model import load_model_spec
from yolox_trt_ros.engine.model_facts import model_facts

DEFAULTS = {
    'score_threshold': 0.35,
    'nms_threshold': 0.7,
    'gpu_id': 0,
    'dla_core_id': -1,
    'center_crop_x_ratio': 0.5,
    'center_crop_y_ratio': 0.5,
}
"""Of their files, for a file that leaves them out."""

_ENVIRONMENT = re.compile(r'\$\(env (\w+)\)')
_METHODS = {
    'Entropy': ('entropy', 'EntropyV2'),
    'Legacy': ('percentile:99.9999', 'Legacy'),
    'Percentile': ('percentile:99.9999', 'Legacy'),
    'MinMax': ('minmax', 'MinMax'),
}
"""Their calibration_algorithm → our method, and the name in their calibration table's."""
OFF = 'nothing: it is off'


@dataclass
class Draft:
    """A vehicle while it is made.

    Attributes:
        values: of their keys, the last file's.
        parameters: ours by dotted name.
        became: what became of each of their keys.
        unknown: keys that nobody knows, each with the nearest.
        todo: what has to be done by hand, in order.
        crops: parts that every camera's images are seen in besides the whole.
    """

    values: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
    became: dict[str, str] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)
    todo: list[str] = field(default_factory=list)
    crops: list[str] = field(default_factory=list)

    @property
    def lane(self) -> str:
        """Name of the lane."""
        return 'dla' if self.number('dla_core_id') >= 0 else 'gpu'

    @property
    def masks(self) -> list[str]:
        """Which masks are published: what they give is for a model with a segmentation head."""
        names = ['color_mask'] if self.values.get('is_publish_color_mask') is True else []
        files = ('model.mask_colors', 'model.mask_boxes')
        return ['mask', *names] if names or any(f in self.parameters for f in files) else []

    def number(self, key: str) -> Any:
        """Return a number of theirs.

        Raises:
            ConfigError: it is none.
        """
        value = self.values.get(key, DEFAULTS.get(key))
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(f'{key}: expected a number, got {shown(value)}')
        return value

    def put(self, name: str, value: Any) -> str:
        """Set one of our parameters and return its name, as what became of a key."""
        self.parameters[name] = value
        return name


def _file(parameter: str, option: str) -> Callable[[Draft, Any], str]:
    """Return what takes a path."""

    def take(draft: Draft, value: Any) -> str:
        if not isinstance(value, str):
            raise ConfigError(f'expected a path, got {shown(value)}')
        path = _ENVIRONMENT.sub(lambda match: os.environ.get(match[1], match[0]), value)
        if '$(' in path:
            draft.todo.append(f'give {option}: only the launch file knows {shown(value)}')
            return f'not taken, only the launch file knows it: {option}'
        return draft.put(parameter, path) if path else f'{parameter}, empty there too'

    return take


def put_score(draft: Draft, _value: Any) -> str:
    """Set the threshold and return its name."""
    return draft.put('model.score_threshold', float(draft.number('score_threshold')))


def put_iou(draft: Draft, _value: Any) -> str:
    """Set the overlap of suppression and return its name."""
    return draft.put('model.nms_iou', float(draft.number('nms_threshold')))


def put_device(draft: Draft, _value: Any) -> str:
    """Set device and backend of the lane and return the device's name."""
    core, gpu = int(draft.number('dla_core_id')), int(draft.number('gpu_id'))
    lane = f'lanes.{draft.lane}'
    draft.put(f'{lane}.backend', 'tensorrt' if core >= 0 else 'auto')
    return draft.put(f'{lane}.device', f'dla:{core}' if core >= 0 else f'cuda:{gpu}')


def _core(draft: Draft, value: Any) -> str:
    name = put_device(draft, value)
    return name if draft.lane == 'dla' else 'no DLA: there is no such lane'


def _gpu(draft: Draft, value: Any) -> str:
    name = put_device(draft, value)
    return name if draft.lane == 'gpu' else 'nothing: the lane is a DLA'


def _precision(draft: Draft, value: Any) -> str:
    name = f'lanes.{draft.lane}.precision'
    if value not in ('fp32', 'fp16', 'int8'):
        raise ConfigError(f'precision: expected fp32, fp16 or int8, got {shown(value)}')
    if value == 'fp32':
        draft.put(name, value)
        return f'{name}; without TF32, which their engine may use: tf32 is that'
    if value == 'fp16':
        return draft.put(name, value)
    return _int8(draft, name)


def _int8(draft: Draft, name: str) -> str:
    """Return what becomes of int8: it needs ranges, which are measured once."""
    path = Path(str(draft.parameters.get('model.path') or 'MODEL.onnx'))
    algorithm = str(draft.values.get('calibration_algorithm', 'Entropy'))
    if algorithm not in _METHODS:
        known = ', '.join(_METHODS)
        raise ConfigError(f'calibration_algorithm: expected {known}, got {shown(algorithm)}')
    method, prefix = _METHODS[algorithm]
    if os.path.isfile(path) and _is_quantised(path):
        draft.put(name, 'int8')
        return f'{name}: the model has its ranges in it'
    table = path.parent / f'{path.stem}.{prefix}-calibration.table'
    clip = float(draft.number('clip_value')) if 'clip_value' in draft.values else 0.0
    if os.path.isfile(table) and not clip > 0:
        draft.put('engines.ranges', str(table))
        draft.put(name, 'int8')
        return f'{name}, with engines.ranges from the calibration table beside the model'
    draft.put(name, 'fp16')
    draft.todo.append(_calibration(draft, f'fixed:{clip:g}' if clip > 0 else method))
    return f'{name}, but fp16 until its ranges are measured, see below'


def _calibration(draft: Draft, method: str) -> str:
    """Return how the ranges of INT8 are measured here."""
    model = str(draft.parameters.get('model.path') or 'MODEL.onnx')
    keep = [w for w in ('first', 'last') if draft.values.get(f'quantize_{w}_layer') is True]
    words = ['python -m yolox_trt_ros quantize', one_line(model), '--output int8']
    words += ['--method', method, *(['--keep', *keep] if keep else []), '--no-gate']
    words += [] if method.startswith('fixed') else ['--images FOLDER']
    stem = one_line(Path(model).stem)
    ranges = f'int8/{stem}.{method.replace(":", "-")}.ranges.json'
    return (
        f'for INT8: {" ".join(words)}; then engines.ranges: {ranges} and '
        f'lanes.{draft.lane}.precision: int8'
    )


def _is_quantised(model: Path) -> bool:
    try:
        return model_facts(model).quantised
    except YoloxTrtRosError:
        return False  # loading it says what is wrong


def _kept(which: str) -> Callable[[Draft, Any], str]:
    def take(draft: Draft, value: Any) -> str:
        if value is True and draft.values.get('precision') == 'int8':
            return f'quantize --keep {which}, see below'
        return f'nothing: the {which} layer is computed as the others'

    return take


def _clip(draft: Draft, _value: Any) -> str:
    if float(draft.number('clip_value')) > 0 and draft.values.get('precision') == 'int8':
        return f'quantize --method fixed:{draft.number("clip_value"):g}, see below'
    return 'nothing: it counts with int8 and above 0 only'


def _algorithm(draft: Draft, value: Any) -> str:
    clip = draft.number('clip_value') if 'clip_value' in draft.values else 0
    if draft.values.get('precision') != 'int8' or clip > 0:
        return 'nothing: it counts with int8 and without clip_value only'
    return f'quantize --method {_METHODS.get(str(value), ("",))[0]}'


def _pictures(draft: Draft, value: Any) -> str:
    return 'quantize --images, a folder with the pictures of that list' if value else 'no pictures'


def _layers(_draft: Draft, value: Any) -> str:
    return 'no parameter: python -m yolox_trt_ros build MODEL --layers' if value else 'nothing'


def _on_gpu(draft: Draft, value: Any) -> str:
    if value is False:
        return 'not taken: a lane of a GPU preprocesses there'
    return 'as it is: a lane of a GPU preprocesses there'


def _centre_crop(draft: Draft, value: Any) -> str:
    """Give every camera the part in the size of the model's input that they look at twice."""
    if value is not True:
        return OFF
    if draft.lane == 'dla':
        return 'not taken: a DLA runs one image a call, and a crop needs a place beside the image'
    at = [100 * float(draft.number(f'center_crop_{axis}_ratio')) for axis in 'xy']
    place = '' if at == [50, 50] else '@{:g}%,{:g}%'.format(*at)
    path = Path(str(draft.parameters.get('model.path', '')))
    if not path.is_file():
        draft.todo.append(
            'give each camera crops: the size of the model’s input, such as '
            f'cameras.camera0.crops: ["960x960{place}"]; the model is not here'
        )
        return 'cameras.<name>.crops, see below'
    labels = Path(str(draft.parameters.get('model.labels', '')))
    size = load_model_spec(path, labels if labels.is_file() else None).input
    draft.crops = [f'{size.width}x{size.height}{place}']
    return f'cameras.<name>.crops: {draft.crops[0]}'


def _of_crop(what: str) -> Callable[[Draft, Any], str]:
    def take(draft: Draft, _value: Any) -> str:
        on = draft.values.get('enable_center_crop_inference') is True
        return what if on else 'nothing: enable_center_crop_inference is off'

    return take


def _overlap(draft: Draft, value: Any) -> str:
    if value is not True:
        return OFF
    if draft.values.get('roi_to_semantic_segmentation_remap_path'):
        return 'model.mask_boxes, which the remap file is for'
    draft.todo.append(
        'for a model with a segmentation head: add mask to outputs, and give model.mask_boxes, '
        'roi_to_semseg_label_remap.csv, for boxes to be painted over masks'
    )
    return 'model.mask_boxes, see below'


def _box_file(draft: Draft, value: Any) -> str:
    off = {draft.values.get(f'is_roi_overlap_segment{end}') for end in ('', 'ation')}
    if True not in off:
        return 'nothing: no boxes are painted over masks'
    return _file('model.mask_boxes', 'model.mask_boxes')(draft, value)


def _box_score(draft: Draft, value: Any) -> str:
    return draft.put('model.mask_box_score', float(draft.number('overlap_roi_score_threshold')))


def _color_mask(draft: Draft, value: Any) -> str:
    return 'outputs: color_mask' if value is True else OFF


def _box_class(draft: Draft, key: str, value: Any) -> str:
    """Return what becomes of a class whose boxes may be painted over masks."""
    if value is not True:
        return 'model.mask_box_classes, which does not have it'
    classes = draft.parameters.setdefault('model.mask_box_classes', [])
    classes.append(key.rpartition('.')[2])
    return 'model.mask_box_classes'


def _build_only(draft: Draft, value: Any) -> str:
    return draft.put('build_only', bool(value))


TAKEN: dict[str, str | Callable[[Draft, Any], str]] = {
    'model_path': _file('model.path', '--model'),
    'label_path': _file('model.labels', '--labels'),
    'roi_remap_path': _file('model.class_map', '--class-map'),
    'score_threshold': put_score,
    'nms_threshold': put_iou,
    'dla_core_id': _core,
    'gpu_id': _gpu,
    'precision': _precision,
    'calibration_algorithm': _algorithm,
    'calibration_image_list_path': _pictures,
    'clip_value': _clip,
    'quantize_first_layer': _kept('first'),
    'quantize_last_layer': _kept('last'),
    'profile_per_layer': _layers,
    'preprocess_on_gpu': _on_gpu,
    'build_only': _build_only,
    'cache_dir': 'not taken: engines.folder is where engines are kept',
    'color_map_path': _file('model.mask_colors', 'model.mask_colors'),
    'semantic_segmentation_color_map_path': _file('model.mask_colors', 'model.mask_colors'),
    'roi_to_semantic_segmentation_remap_path': _box_file,
    'is_publish_color_mask': _color_mask,
    'is_roi_overlap_segment': _overlap,
    'is_roi_overlap_segmentation': _overlap,
    'overlap_roi_score_threshold': _box_score,
    'enable_center_crop_inference': _centre_crop,
    'center_crop_x_ratio': _of_crop('the centre in cameras.<name>.crops'),
    'center_crop_y_ratio': _of_crop('the centre in cameras.<name>.crops'),
    'center_crop_edge_margin': _of_crop(
        'nothing: a box within 2 % of the crop’s border (at least 2 px) yields to one that is whole'
    ),
    'center_crop_overlap_iou_threshold': _of_crop(
        'nothing: suppression by model.nms_iou goes across crops, and the better score stays'
    ),
}
"""What becomes of each of their keys: a sentence, or what says so and sets parameters of ours."""

GROUPS: dict[str, Callable[[Draft, str, Any], str]] = {
    'roi_overlay_segment_label.': _box_class,
    'roi_overlay_segmentation_label.': _box_class,
}
"""The same of keys that begin so."""
