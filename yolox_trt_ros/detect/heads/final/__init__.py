"""Heads that give final boxes: suppressed inside the graph, or by networks that need none."""

from __future__ import annotations

from yolox_trt_ros.detect.heads.family import Family
from yolox_trt_ros.detect.heads.final.match import Final

FAMILIES: dict[str, Family] = {'final': Final()}
