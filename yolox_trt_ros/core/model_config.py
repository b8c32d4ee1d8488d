"""The parameters of a model: its file, and how its output becomes detections."""

from __future__ import annotations

from dataclasses import dataclass

from yolox_trt_ros.core.class_scores import score_problems
from yolox_trt_ros.core.parameters import parameter


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """The network and how its output becomes detections."""

    path: str = parameter(
        '', 'ONNX file, or name of a packaged model or of a pulled one; empty: edge_n.'
    )
    labels: str = parameter(
        '', 'Text file with one class name per line; empty: the file beside the model.'
    )
    class_map: str = parameter(
        '',
        'CSV or YAML file that gives classes of the model other names in the result, several the '
        'same one; Autoware’s remap CSV too. Empty: names are the model’s.',
        runtime=True,
    )
    classes: tuple[str, ...] = parameter(
        (),
        'Classes to detect, by name or number in the result; empty: all.',
        runtime=True,
        numbers=True,
    )
    antialias: bool = parameter(
        False,
        'Average over areas when an image shrinks by more than two; costs time, reduces aliasing.',
    )
    segmentation: bool = parameter(
        True, 'Read class masks, if the model gives them; they are made while somebody wants them.'
    )
    mask_colors: str = parameter(
        '',
        'CSV file with a row for each class of the masks, `id,name,r,g,b` behind a head, such as '
        'Autoware’s semseg_color_map.csv: names and colors. Empty: the names that the model gives, '
        'and colors that differ well.',
    )
    mask_boxes: str = parameter(
        '',
        'CSV file with a row for each class of the model, its name and the class of the masks that '
        'its boxes are painted with, -1 for none, behind a head, such as Autoware’s '
        'roi_to_semseg_label_remap.csv. Empty: no boxes are painted over the masks.',
    )
    mask_box_classes: tuple[str, ...] = parameter(
        (),
        'Names of the classes of the model whose boxes are painted over the masks; empty: all to '
        'which mask_boxes gives a class.',
    )
    mask_box_score: float = parameter(
        0.3, 'Lowest score of a box that is painted over the masks.', low=0.0, high=1.0
    )
    score_threshold: float = parameter(
        0.3,
        'Drop detections whose objectness × class score is lower.',
        low=0.0,
        high=1.0,
        runtime=True,
    )
    class_thresholds: tuple[str, ...] = parameter(
        (),
        'Other score thresholds of single classes, such as person=0.2.',
        runtime=True,
    )
    nms_iou: float = parameter(
        0.45,
        'IoU above which non-maximum suppression drops the box with the lower score.',
        low=0.0,
        high=1.0,
        runtime=True,
    )
    class_agnostic: bool = parameter(
        False, 'Let boxes of different classes suppress each other.', runtime=True
    )
    max_detections: int = parameter(
        300, 'Largest number of detections per image.', low=1, high=10000, runtime=True
    )
    clip_boxes: bool = parameter(
        False,
        'Clip boxes to the image. If false, boxes of partly visible objects extend beyond it.',
        runtime=True,
    )

    @property
    def where(self) -> str:
        """Return what its parameters' names begin with."""
        return 'model'


@dataclass(frozen=True, slots=True)
class NamedModelConfig(ModelConfig):
    """A further network, for the cameras that name it."""

    path: str = parameter('', 'ONNX file, or name of a packaged model or of a pulled one.')
    name: str = ''

    @property
    def where(self) -> str:
        """Return what its parameters' names begin with."""
        return f'models.{self.name}'


def model_problems(model: ModelConfig) -> list[str]:
    """Return what contradicts itself in a model, each with what would be right."""
    problems = score_problems(model.where, model.class_thresholds)
    if isinstance(model, NamedModelConfig) and not model.path:
        problems.append(f'{model.where}.path: expected an ONNX file or the name of a model')
    return problems
