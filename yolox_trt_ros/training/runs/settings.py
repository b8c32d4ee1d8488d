"""What a run is asked to do; kept in its folder, and the same when it is resumed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.printing import shown
from yolox_trt_ros.training.learning.batchnorm import MODES
from yolox_trt_ros.training.learning.precision import PRECISIONS
from yolox_trt_ros.training.networks.build import NetworkSpec, spec_of
from yolox_trt_ros.training.pictures.augment import Augmentation


@dataclass(frozen=True)
class Settings:
    """What a run is asked to do.

    Attributes:
        spec: of the network.
        epochs: how often each picture comes.
        minutes: of training; fewer epochs if they take longer. 0: all of them.
        batch: pictures of a step, all ranks together.
        parts: of a rank's batch, one after the other.
        checkpointing: stages are computed twice instead of kept.
        rate: the highest learning rate.
        warmup: steps until it is reached.
        plain: share of the run, its last, without mosaic, zoom and colours.
        augmentation: before that.
        every: epochs between validations.
        patience: validations without a better mAP that end the run; 0: none do.
        seed: of everything that is random.
        precision: one of :data:`PRECISIONS`.
        batch_norm: one of :data:`MODES`.
        source: what the weights came from, for the model card; empty: new ones.

    Raises:
        ConfigError: values do not go together.
    """

    spec: NetworkSpec
    epochs: int = 100
    minutes: float = 0.0
    batch: int = 32
    parts: int = 1
    checkpointing: bool = False
    rate: float = 1e-3
    warmup: int = 300
    plain: float = 0.15
    augmentation: Augmentation = field(default_factory=Augmentation)
    every: int = 1
    patience: int = 0
    seed: int = 0
    precision: str = 'bf16'
    batch_norm: str = 'own'
    source: str = ''

    def __post_init__(self) -> None:
        for name, value, known in (
            ('precision', self.precision, PRECISIONS),
            ('batch norm', self.batch_norm, MODES),
        ):
            if value not in known:
                raise ConfigError(f'{name}: {shown(value)} is not one of {", ".join(known)}')

    def check_ranks(self, ranks: int) -> None:
        """Refuse a batch that so many ranks cannot share.

        Raises:
            ConfigError: it is no multiple of the ranks and parts.
        """
        if self.batch % (ranks * self.parts):
            raise ConfigError(
                f'--batch: expected a multiple of {ranks * self.parts} ({ranks} ranks, '
                f'{self.parts} parts each), got {self.batch}'
            )

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        content = {**asdict(self), 'spec': self.spec.to_json()}
        plain: dict[str, Any] = json.loads(json.dumps(content))
        return plain


def settings_of(content: Mapping[str, Any]) -> Settings:
    """Return what :meth:`Settings.to_json` wrote."""
    how = dict(content['augmentation'])
    how['zoom'] = tuple(how['zoom'])
    given = {**content, 'spec': spec_of(content['spec']), 'augmentation': Augmentation(**how)}
    return Settings(**given)
