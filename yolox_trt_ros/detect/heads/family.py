"""What a family of detector heads has to do."""

from __future__ import annotations

from abc import ABC, abstractmethod

from yolox_trt_ros.core.head import HeadCut, HeadSpec
from yolox_trt_ros.detect.graph.model_graph import ModelGraph


class NotThisHeadError(Exception):
    """A graph does not end in a head of this family; the message goes on after "it is"."""


class Family(ABC):
    """Recognises its heads."""

    @abstractmethod
    def match(self, graph: ModelGraph) -> HeadSpec:
        """Return what the outputs of a model mean.

        Raises:
            NotThisHeadError: they are not of this family; says what was expected and what is there.
            ModelError: they are, and something of them is wrong or missing.
        """

    def cut(self, graph: ModelGraph) -> HeadCut:
        """Return where the graph may end so that a DLA runs all of it.

        Raises:
            NotThisHeadError: it does not end in a head of this family, or in one that is not cut.
        """
        raise NotThisHeadError(f'not cut if its head is of {type(self).__name__}')
