"""Which layers of an engine run on a DLA and which on the GPU, read from TensorRT's build log.

Only the log has it: TensorRT's engine inspector knows layers, not devices. The forms of the lines
are those of public logs of TensorRT 8.2 to 10.x:

- ``[DlaLayer] {ForeignNode[first...last]}`` and ``[GpuLayer] CONVOLUTION: name`` (8.4 and later;
  before that ``[GpuLayer] name``), one line a loadable or a layer.
- ``Layer 'name' (SHUFFLE): Unsupported on DLA. Switching this layer's device type to GPU.`` (8.6),
  ``Default DLA is enabled but layer name is not supported on DLA, falling back to GPU.`` (8.0), and
  ``DLA supports only 16 subgraphs per DLA core. Switching to GPU for layer name`` (7, 8).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_DLA = re.compile(r'\[DlaLayer\]\s*(.+?),?\s*$')
_GPU = re.compile(r'\[GpuLayer\]\s*(?:([A-Z][A-Z0-9_]*): )?(.+?),?\s*$')
_FALLBACKS = (
    re.compile(r"Layer '(?P<layer>.+)' \((?P<kind>\w+)\): (?P<why>.+?)\s*Switching this layer's"),
    re.compile(r'Default DLA is enabled but layer (?P<layer>.+) is not (?P<why>.+), falling back'),
    re.compile(r'(?P<why>DLA .+?)\. Switching to GPU for layer (?P<layer>.+?)\.?\s*$'),
)
_REFORMAT = re.compile(r'Reformatting CopyNode|\bCOPY\b|^reformat|_output copy$', re.IGNORECASE)
_TELLING = ('[DlaLayer]', '[GpuLayer]', 'DLA')


@dataclass(frozen=True, slots=True)
class LayerPlacement:
    """Where the layers of an engine run.

    Attributes:
        loadables: what each DLA loadable spans, as TensorRT names it.
        gpu: names of the layers on the GPU, without those that only change a format.
        reformats: layers on the GPU that copy between formats: the price of each border.
        fallbacks: (layer, why) of those that were meant for the DLA and went to the GPU.
    """

    loadables: tuple[str, ...] = ()
    gpu: tuple[str, ...] = ()
    reformats: tuple[str, ...] = ()
    fallbacks: tuple[tuple[str, str], ...] = ()

    @property
    def known(self) -> bool:
        """Return whether the log said anything; TensorRT-RTX never does."""
        return bool(self.loadables or self.gpu or self.reformats)

    @property
    def transfers(self) -> int:
        """Return how often data crosses between DLA and GPU or memory: each loadable's two ends."""
        return 2 * len(self.loadables)

    def off_dla(self) -> list[str]:
        """Return the names of all layers that a DLA engine runs on the GPU, each once."""
        named = [layer for layer, _ in self.fallbacks]
        return list(dict.fromkeys([*named, *self.gpu]))


def logs_placement(message: str) -> bool:
    """Return whether a log line may say where a layer runs."""
    return any(word in message for word in _TELLING)


def parse_build_log(lines: Iterable[str]) -> LayerPlacement:
    """Return what a build log says; lines of any other kind are passed over.

    Args:
        lines: as TensorRT gives them to a logger, or with trtexec's time stamps before.
    """
    loadables: list[str] = []
    gpu: list[str] = []
    reformats: list[str] = []
    fallbacks: list[tuple[str, str]] = []
    for line in lines:
        if match := _DLA.search(line):
            loadables.append(match[1])
        elif match := _GPU.search(line):
            reformat = match[1] == 'COPY' or _REFORMAT.search(match[2])
            (reformats if reformat else gpu).append(match[2])
        else:
            fallbacks += _fallback(line)
    return LayerPlacement(tuple(loadables), tuple(gpu), tuple(reformats), tuple(fallbacks))


def _fallback(line: str) -> Sequence[tuple[str, str]]:
    for form in _FALLBACKS:
        if match := form.search(line):
            return [(match['layer'], match['why'].rstrip('.'))]
    return ()
