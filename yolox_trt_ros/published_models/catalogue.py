"""Which models can be pulled: where they are, whose, how large, which classes they know."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from yolox_trt_ros.core.class_names import COCO
from yolox_trt_ros.core.errors import ConfigError, did_you_mean
from yolox_trt_ros.core.printing import shown


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """A file on somebody's server.

    Attributes:
        url: where.
        digest: ``sha256:…`` or ``md5:…`` as it was published or as several others have found it;
            empty: that of the first download is kept and counts.
    """

    url: str
    digest: str = ''

    @property
    def name(self) -> str:
        """Return the file's own name."""
        return self.url.rpartition('/')[2]


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """One model.

    Attributes:
        name: what ``models pull`` and ``model.path`` call it.
        file: the ONNX file, or the PyTorch checkpoint.
        megabytes: about how large that is, in 10^6 bytes; 0: not known.
        about: for people: what it is, and how good.
        licence: of the weights.
        source: the page that describes it.
        labels: class names; (): they are in ``labels_file``.
        labels_file: one class name a line.
    """

    name: str
    file: PublishedFile
    megabytes: float
    about: str
    licence: str
    source: str
    labels: tuple[str, ...] = ()
    labels_file: PublishedFile | None = None

    @property
    def runs(self) -> bool:
        """Return whether a detector can run it as it is."""
        return self.file.name.endswith('.onnx')


_MEGVII = 'https://github.com/Megvii-BaseDetection/YOLOX'
_RELEASE = f'{_MEGVII}/releases/download/0.1.1rc0'
_SIZES = (
    # name, input, AP on COCO (test-dev, of nano and tiny val), MB of ONNX and checkpoint, SHA-256
    ('nano', 416, 25.8, 3.7, 7.7,
     'c789161ed43c8269fcd4e67c67eeeb4e80c622da2eb296a20bc6007bd18a0b7d'),
    ('tiny', 416, 32.8, 20.2, 40.7,
     '427cc366d34e27ff7a03e2899b5e3671425c262ea2291f88bb942bc1cc70b0f7'),
    ('s', 640, 40.5, 35.9, 72.1,
     'c5c2d13e59ae883e6af3b45daea64af4833a4951c92d116ec270d9ddbe998063'),
    ('m', 640, 47.2, 101.5, 203.1, ''),
    ('l', 640, 50.1, 217.0, 434.0, ''),
    ('x', 640, 51.5, 396.6, 793.0, ''),
)  # fmt: skip


def _official(
    name: str, side: int, ap: float, onnx: float, checkpoint: float, sha256: str
) -> Iterator[PublishedModel]:
    """Yield the ONNX file and the checkpoint of one size of YOLOX."""
    file = PublishedFile(f'{_RELEASE}/yolox_{name}.onnx', sha256 and f'sha256:{sha256}')
    about = f'YOLOX-{name}, {side}x{side}, COCO’s 80 classes, AP {ap}'
    model = PublishedModel(f'yolox_{name}', file, onnx, about, 'Apache-2.0', _MEGVII, COCO)
    yield model
    yield replace(
        model,
        name=f'yolox_{name}.pth',
        file=PublishedFile(f'{_RELEASE}/yolox_{name}.pth'),
        megabytes=checkpoint,
        about=f'{about}; PyTorch checkpoint, to train or export',
    )


_AWF = 'https://awf.ml.dev.web.auto/perception/models'
_AUTOWARE = 'https://github.com/autowarefoundation/autoware/tree/main/ansible/roles/artifacts'
_NOT_STATED = 'not stated with the file (Autoware: Apache-2.0)'
_LABELS = PublishedFile(
    f'{_AWF}/label.txt', 'sha256:3540a365bfd6d8afb1b5d8df4ec47f82cb984760d3270c9b41dbbb3422d09a0c'
)
_OF_AUTOWARE = [
    PublishedModel(
        'autoware_yolox_s',
        PublishedFile(
            f'{_AWF}/object_detection_yolox_s/v1/yolox-sPlus-T4-960x960-pseudo-finetune.onnx',
            'sha256:f5054e8a890c3be86dc1b4b89a5a36fb2279d4f6110b0159e793be062641bf65',
        ),
        0.0,
        'Autoware’s YOLOX-S+, 960x960, driving scenes',
        _NOT_STATED,
        _AUTOWARE,
        labels_file=_LABELS,
    ),
    PublishedModel(
        'autoware_yolox_s_seg',
        PublishedFile(
            f'{_AWF}/object_detection_semseg_yolox_s/v1/'
            'yolox-sPlus-opt-pseudoV2-T4-960x960-T4-seg16cls.onnx',
            'sha256:73b3812432cedf65cebf02ca4cb630542fc3b1671c4c0fbf7cee50fa38e416a8',
        ),
        0.0,
        'the same with a segmentation, which is left out here',
        _NOT_STATED,
        _AUTOWARE,
        labels_file=_LABELS,
    ),
    PublishedModel(
        'autoware_yolox_tiny',
        PublishedFile(
            f'{_AWF}/yolox-tiny.onnx',
            'sha256:471a665f4243e654dff62578394e508db22ee29fe65d9e389dfc3b0f2dee1255',
        ),
        20.0,
        'Autoware’s YOLOX-tiny, with suppression (EfficientNMS_TRT) in the graph',
        _NOT_STATED,
        _AUTOWARE,
        labels_file=_LABELS,
    ),
]

CATALOGUE: dict[str, PublishedModel] = {
    model.name: model
    for models in (*(_official(*size) for size in _SIZES), _OF_AUTOWARE)
    for model in models
}
"""By name."""

FIRST = 'yolox_s'
"""What is recommended to begin with."""


def published(name: str) -> PublishedModel:
    """Return a model of the catalogue.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in CATALOGUE:
        near = did_you_mean(name, CATALOGUE)
        raise ConfigError(f'no model is called {shown(name)}{near}; "models list" shows all')
    return CATALOGUE[name]
