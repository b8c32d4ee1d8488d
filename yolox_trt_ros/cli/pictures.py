"""Pictures for tools that feed a model: of a folder, a bag, the rendered world, or random ones.

All but the random ones go through the preprocessing of the deployed CPU detector.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from yolox_trt_ros.cli.bag_limits import add_bag_limits
from yolox_trt_ros.core.errors import ConfigError, FrameError
from yolox_trt_ros.core.frame import Frame
from yolox_trt_ros.core.model import InputSpec
from yolox_trt_ros.core.printing import one_line
from yolox_trt_ros.core.transports import TRANSPORT_OF_TYPE, TRANSPORTS
from yolox_trt_ros.detect.cpu.preprocess import CpuPreprocessor
from yolox_trt_ros.image_files import SUFFIXES, read_image

Item = TypeVar('Item')


@dataclass(frozen=True, slots=True)
class Pictures:
    """Where pictures come from, and how many.

    Attributes:
        name: for reports.
        count: how many frames there will be, at most.
        frames: begins again from the first frame at every call.
    """

    name: str
    count: int
    frames: Callable[[], Iterator[Frame]]

    def inputs(self, spec: InputSpec) -> Iterator[np.ndarray]:
        """Yield model inputs, float32 (3, height, width); frames that are damaged are reported.

        Raises:
            ConfigError: not one frame could be used.
        """
        preprocessor, used = CpuPreprocessor(spec), 0
        for frame in self.frames():
            image = preprocessor.new_input(1)[0]
            try:
                preprocessor.write(frame, image)
            except FrameError as error:
                print(f'{self.name}: left out: {error}', file=sys.stderr)
                continue
            used += 1
            yield image
        if not used:
            raise ConfigError(f'{self.name}: no usable picture')


def add_picture_arguments(parser: argparse.ArgumentParser, required: bool, count: int) -> None:
    """Declare where pictures come from."""
    source = parser.add_mutually_exclusive_group(required=required)
    source.add_argument('--images', type=Path, metavar='DIR', help='take the images of this folder')
    source.add_argument(
        '--bag', type=Path, help='take images of this recorded drive (rosbag2), raw or compressed'
    )
    source.add_argument(
        '--world', choices=('train', 'val'), help='take images of rendered worlds of this split'
    )
    parser.add_argument(
        '--topic', action='append', help='take this image topic of the bag (default: all)'
    )
    parser.add_argument(
        '--pictures', type=int, default=count, help=f'at most this many (default: {count})'
    )
    add_bag_limits(parser)


def chosen_pictures(args: argparse.Namespace) -> Pictures | None:
    """Return the pictures that the command line asks for; None: it asks for none.

    Raises:
        ConfigError: there is no such folder or no image in it, or a count below 1.
        BagError: the bag cannot be read.
    """
    if args.pictures < 1:
        raise ConfigError(f'--pictures: expected at least 1, got {args.pictures}')
    if args.topic and not args.bag:
        raise ConfigError('--topic: for --bag only; without effect here, so leave it out')
    if args.images:
        return folder_pictures(args.images, args.pictures)
    if args.bag:
        return bag_pictures(args.bag, args.topic, args.pictures)
    return world_pictures(args.world, args.pictures) if args.world else None


def folder_pictures(folder: Path, count: int) -> Pictures:
    """Return images of a folder, evenly spread over it in the order of their names."""
    files = _spread(image_files(folder), count)

    def frames() -> Iterator[Frame]:
        for i, file in enumerate(files):
            try:
                yield Frame.of(read_image(file), sequence=i)
            except FrameError as error:
                print(f'{one_line(file)}: left out: {error}', file=sys.stderr)

    return Pictures(str(folder), len(files), frames)


def bag_pictures(path: Path, topics: list[str] | None, count: int) -> Pictures:
    """Return images of a bag, evenly spread over the drive."""
    from yolox_trt_ros.bags.reader import Bag, listed

    with Bag(path) as bag:
        images = [name for kind in TRANSPORT_OF_TYPE for name in bag.of_type(kind)]
        chosen = sorted(bag.require(topics)) if topics else images
        if not chosen or set(chosen) - set(images):
            raise ConfigError(
                f'--bag {path}: expected topics of type {" or ".join(TRANSPORT_OF_TYPE)}, '
                f'got {listed(chosen)}; image topics there: {listed(images)}'
            )
        total = sum(bag.topics[name].count for name in chosen)
    kept = set(_spread(range(total), count))
    return Pictures(str(path), len(kept), lambda: _bag_frames(path, chosen, kept))


def _bag_frames(path: Path, topics: list[str], kept: set[int]) -> Iterator[Frame]:
    from yolox_trt_ros.bags.reader import Bag
    from yolox_trt_ros.ros.input.codecs import Arrival
    from yolox_trt_ros.ros.input.readers import new_reader

    with Bag(path) as bag:
        of_topic = {topic: TRANSPORT_OF_TYPE[bag.topics[topic].type] for topic in topics}
        readers = {topic: new_reader(transport) for topic, transport in of_topic.items()}
        for i, message in enumerate(bag.messages(topics)):
            if i not in kept and not TRANSPORTS[of_topic[message.topic]].stream:
                continue
            try:
                frame = readers[message.topic](message.cdr, Arrival(message.topic, i, message.t_ns))
                if i in kept:
                    yield frame
            except FrameError as error:
                if i in kept:
                    print(f'{message.topic}: left out: {error}', file=sys.stderr)


def world_pictures(split: str, count: int) -> Pictures:
    """Return pictures of rendered worlds, few of each world, so that many worlds are seen."""
    from yolox_trt_ros.sim.world.dataset import PER_WORLD, render_world

    each = max(1, min(PER_WORLD, count // 8))

    def frames() -> Iterator[Frame]:
        for i in range(count):
            world, k = divmod(i, each)
            if k == 0:
                pictures = render_world(split, world)
            yield Frame.of(next(pictures)[1], sequence=i)

    return Pictures(f'world {split}', count, frames)


def random_inputs(spec: InputSpec, count: int) -> Iterator[np.ndarray]:
    """Yield evenly distributed random inputs, float32 (3, height, width)."""
    rng = np.random.default_rng(0)
    multiply, add = (factor[:, None, None] for factor in spec.normalisation())
    for _ in range(count):
        pixels = rng.integers(0, 256, (3, spec.height, spec.width))
        yield (pixels * multiply + add).astype(np.float32)


def _spread(items: Sequence[Item], count: int) -> list[Item]:
    if len(items) <= count:
        return list(items)
    return [items[i * len(items) // count] for i in range(count)]


def image_files(path: Path, more: Sequence[str] = ()) -> list[Path]:
    """Return the image files of a folder, sorted by name, or the one file given.

    Args:
        path: the folder or file.
        more: suffixes of other files that are taken too, such as those of videos.

    Raises:
        ConfigError: there is none.
    """
    files = [path] if path.is_file() else sorted(path.glob('*')) if path.is_dir() else []
    files = [f for f in files if f.suffix.lower() in (*SUFFIXES, *more)]
    if not files:
        what = 'an image, a video or a folder of them' if more else 'an image or a folder of images'
        raise ConfigError(f'--images: expected {what}, got {one_line(path)}')
    return files
