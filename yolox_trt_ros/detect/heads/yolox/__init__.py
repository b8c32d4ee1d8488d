"""YOLOX: per stride a map of boxes, of objectness and of classes."""

from __future__ import annotations

from yolox_trt_ros.core.head import HeadCut
from yolox_trt_ros.detect.graph.model_graph import ModelGraph
from yolox_trt_ros.detect.heads.family import Family, NotThisHeadError
from yolox_trt_ros.detect.heads.yolox.cut import yolox_cut
from yolox_trt_ros.detect.heads.yolox.head import YoloxHead
from yolox_trt_ros.detect.heads.yolox.joined import JoinedYoloxHead, joined_head
from yolox_trt_ros.detect.heads.yolox.reading import YoloxReader


class Yolox(Family):
    """Recognises YOLOX's heads."""

    def match(self, graph: ModelGraph) -> YoloxHead | JoinedYoloxHead:
        """Return what the outputs mean."""
        try:
            return YoloxReader(graph).head()
        except NotThisHeadError as error:
            try:
                return joined_head(graph)
            except NotThisHeadError:
                raise error from None

    def cut(self, graph: ModelGraph) -> HeadCut:
        """Return the maps of the head."""
        return yolox_cut(graph)


FAMILIES: dict[str, Family] = {'yolox': Yolox()}
