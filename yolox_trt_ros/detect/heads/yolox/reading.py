"""Find out from a graph, and from what is said of it, what a YOLOX's outputs hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

from yolox_trt_ros.core.errors import ModelError, did_you_mean
from yolox_trt_ros.detect.description import sidecar_of
from yolox_trt_ros.detect.graph.dequantise import NotFollowedError, OtherEndError
from yolox_trt_ros.detect.graph.model_graph import ModelGraph
from yolox_trt_ros.detect.graph.tensors import described
from yolox_trt_ros.detect.heads.family import NotThisHeadError
from yolox_trt_ros.detect.heads.yolox.head import YoloxHead
from yolox_trt_ros.detect.heads.yolox.match import (
    Match,
    match_concatenated,
    match_maps,
    random_maps,
)


class YoloxReader:
    """Finds out what a model's outputs hold.

    What the description does not say is found out: what follows the head's convolutions is run on
    random maps, and what comes out shows whether scores are probabilities, whether boxes are
    decoded, and in which order levels stand.
    """

    def __init__(self, graph: ModelGraph) -> None:
        self._graph, self._path, self._given = graph, graph.path, graph.given
        self._size = graph.input.height, graph.input.width
        self._shapes = graph.outputs()
        self._unbatched = False
        self._why: list[str] = []
        self._other: list[str] = []

    def head(self) -> YoloxHead:
        """Return what the outputs mean.

        Raises:
            NotThisHeadError: they are no YOLOX's.
            ModelError: they are, and cannot be distinguished or understood.
        """
        names = self._named()
        match = self._concatenated(names) or self._per_level(names)
        if match is None:
            if self._other:
                raise ModelError(f'{self._path}: {"; ".join(self._other)}')
            return self._as_described(names)
        scores, boxes = (self._given.get(k, getattr(match, k)) for k in ('scores', 'boxes'))
        return YoloxHead(
            match.outputs,
            match.classes,
            self._strides(match),
            scores,
            boxes,
            tuple(m.name for m in match.maps),
            self._unbatched and len(match.outputs) == 1,
        )

    def _named(self) -> list[str]:
        """Return the outputs to look at: all, or those that the description names."""
        there = list(self._shapes)
        named = list(self._given.get('outputs', there))
        for name in named:
            if name not in there:
                raise ModelError(
                    f'{self._path}: outputs: "{name}" is none of its outputs'
                    f'{did_you_mean(name, there)}'
                )
        if 'outputs' in self._given and len(named) != 1 and len(named) % 3:
            raise ModelError(
                f'{self._path}: outputs: expected one, or box, objectness and class of each '
                f'stride, got {len(named)}'
            )
        return named

    def _concatenated(self, names: Sequence[str]) -> Match | None:
        """Return what the one output holds that is YOLOX's [batch, anchors, 5 + classes]."""
        found = []
        for name in names:
            if len(self._shapes[name]) not in (0, 3) and len(names) > 1:
                continue
            try:
                end = self._graph.end([name])
                values = random_maps(end.maps)
                (got,) = end.run(values)
                if got.ndim == 2 and self._graph.input.batch == 1:
                    got, self._unbatched = got[None], True
                if got.ndim == 3:
                    self._shapes[name] = got.shape
                    found.append(match_concatenated(end, name, got, values, self._size))
            except NotFollowedError as error:
                self._note(error)
        if len(found) > 1:
            raise ModelError(
                f'{self._path}: its outputs {", ".join(m.outputs[0] for m in found)} all are '
                f'YOLOX’s: name one in "outputs" of {sidecar_of(self._path).name} beside it'
            )
        return found[0] if found else None

    def _per_level(self, names: Sequence[str]) -> Match | None:
        """Return what three outputs of each stride hold."""
        ordered = 'outputs' in self._given
        levels = [n for n in names if len(self._shapes[n]) == 4]
        if not ordered:
            levels = _without_strangers(levels, self._shapes)
        if not levels or len(levels) % 3:
            return None
        try:
            end = self._graph.end(levels)
            values = random_maps(end.maps)
            return match_maps(end, levels, end.run(values), values, self._size, ordered)
        except NotFollowedError as error:
            self._note(error)
        return None

    def _note(self, error: NotFollowedError) -> None:
        (self._other if isinstance(error, OtherEndError) else self._why).append(str(error))

    def _strides(self, match: Match) -> tuple[int, ...]:
        height, width = self._size
        found = tuple(_stride(height, width, *cells) for cells in match.cells)
        anchors = sum(rows * columns for rows, columns in match.cells)
        given = tuple(self._given.get('strides', ()))
        if not given and 0 in found:
            raise self._no_strides(anchors)
        if given and given != found:
            if len(match.outputs) == 1 and self._anchors(given) != anchors:
                raise self._other_anchors(given, anchors)
            if 0 not in found:
                raise ModelError(
                    f'{self._path}: strides {list(given)} are given, but its maps have '
                    f'{list(found)}'
                )
        return given or found

    def _as_described(self, names: Sequence[str]) -> YoloxHead:
        """Return what the description says, where nothing can be found out; refuse what is no head.

        Raises:
            ModelError: it does not say enough, or the shapes are not YOLOX's.
        """
        given, shapes = self._given, {n: self._shapes[n] for n in names}
        whole = [n for n, s in shapes.items() if len(s) == 3 and s[1] >= 1 and s[2] >= 6]
        levels = _maps_by_shape(shapes, self._size, 'outputs' in given)
        if len(whole) == 1:
            anchors, values = shapes[whole[0]][1:]
            strides = tuple(given.get('strides') or _strides_for(*self._size, anchors))
            outputs: tuple[str, ...] = (whole[0],)
            classes = values - 5
            if not strides:
                raise self._no_strides(anchors)
            if self._anchors(strides) != anchors:
                raise self._other_anchors(strides, anchors)
        elif levels:
            outputs, strides, classes = levels
        else:
            raise NotThisHeadError(self._not_yolox())
        if missing := [key for key in ('scores', 'boxes') if key not in given]:
            raise self._undetermined(missing)
        return YoloxHead(outputs, classes, strides, given['scores'], given['boxes'])

    def _anchors(self, strides: Sequence[int]) -> int:
        height, width = self._size
        return sum((height // s) * (width // s) for s in strides)

    def _no_strides(self, anchors: int) -> ModelError:
        height, width = self._size
        return ModelError(
            f'{self._path}: no set of strides makes {anchors} anchors at {width}x{height}; if it '
            'is a YOLOX, give "strides" in the YAML beside the model'
        )

    def _other_anchors(self, strides: Sequence[int], anchors: int) -> ModelError:
        height, width = self._size
        return ModelError(
            f'{self._path}: strides {list(strides)} make {self._anchors(strides)} anchors at '
            f'{width}x{height}, but the output has {anchors}'
        )

    def _undetermined(self, missing: Sequence[str]) -> ModelError:
        choices = {'scores': 'probability or logit', 'boxes': 'grid or pixel'}
        say = ' and '.join(f'"{key}" ({choices[key]})' for key in missing)
        return ModelError(
            f'{self._path}: what its outputs hold is unknown: {"; ".join(self._why)}. Expected '
            'YOLOX’s head, with or without sigmoid and decoding: export it without what follows, '
            f'or give {say} in {sidecar_of(self._path).name} beside it if you know'
        )

    def _not_yolox(self) -> str:
        why = f' ({"; ".join(self._why)})' if self._why else ''
        return (
            'not a YOLOX detector: expected one output [batch, anchors, 5 + classes] or three maps '
            '(4, 1 and classes channels) per stride, got '
            f'{described(self._graph.model.graph.output) or "no output"}{why}'
        )


def _without_strangers(names: Sequence[str], shapes: Mapping[str, Sequence[int]]) -> list[str]:
    """Return the outputs that may be a head's maps: three of one size.

    A single one of its size that has another number of channels than any of these is no map.
    """
    by_cells: dict[tuple[int, ...], list[str]] = {}
    for name in names:
        by_cells.setdefault(tuple(shapes[name][2:]), []).append(name)
    triples = [n for group in by_cells.values() if len(group) == 3 for n in group]
    channels = {shapes[name][1] for name in triples}
    return [
        name
        for name in names
        if name in triples
        or len(by_cells[tuple(shapes[name][2:])]) > 1
        or shapes[name][1] in channels
    ]


def _maps_by_shape(
    shapes: Mapping[str, Sequence[int]], size: tuple[int, int], ordered: bool
) -> tuple[tuple[str, ...], tuple[int, ...], int] | None:
    """Return outputs, strides and classes of maps, distinguished by their shapes or their order."""
    by_rows: dict[int, list[str]] = {}
    for name, shape in shapes.items():
        if len(shape) != 4 or not shape[2]:
            return None
        by_rows.setdefault(shape[2], []).append(name)
    outputs, strides, classes = [], [], set()
    for rows in sorted(by_rows, reverse=True):
        names = by_rows[rows]
        if not ordered:
            names.sort(key=lambda name: {4: 0, 1: 1}.get(shapes[name][1], 2))
        channels = [shapes[name][1] for name in names]
        if channels[:2] != [4, 1] or len(names) != 3 or (channels[2] == 4 and not ordered):
            return None
        outputs += names
        classes.add(channels[2])
        strides.append(size[0] // rows)
    return (tuple(outputs), tuple(strides), classes.pop()) if len(classes) == 1 else None


def _stride(height: int, width: int, rows: int, columns: int) -> int:
    """Return the stride of a level with so many cells, 0 if it does not divide the input."""
    stride = height // rows
    return stride if (rows * stride, columns * stride) == (height, width) else 0


def _strides_for(height: int, width: int, anchors: int) -> tuple[int, ...]:
    # Where they divide both sides, each has a quarter of the cells of the one before: no two sets
    # of them have the same sum.
    possible = [s for s in (4, 8, 16, 32, 64, 128) if height % s == 0 == width % s]
    for count in range(1, len(possible) + 1):
        for strides in combinations(possible, count):
            if sum((height // s) * (width // s) for s in strides) == anchors:
                return strides
    return ()
