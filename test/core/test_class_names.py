"""Spellings of one class."""

import pytest

from yolox_trt_ros.core.class_names import canonical, matching


@pytest.mark.parametrize(
    ('name', 'coco'),
    [
        ('motorbike', 'motorcycle'), ('aeroplane', 'airplane'), ('sofa', 'couch'),
        ('pottedplant', 'potted plant'), ('diningtable', 'dining table'), ('tvmonitor', 'tv'),
        ('Traffic_Light', 'traffic light'), ('hair drier', 'hair drier'), (' Car ', 'car'),
    ],
)  # fmt: skip
def test_names_of_coco_classes(name: str, coco: str) -> None:
    assert canonical(name) == canonical(coco) == coco


def test_the_same_spelling_comes_first() -> None:
    assert matching('sofa', ('couch', 'sofa')) == 'sofa'
    assert matching('motorbike', ('car', 'motorcycle')) == 'motorcycle'
    assert matching('van', ('car', 'motorcycle')) is None
