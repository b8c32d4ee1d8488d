"""Hundreds of rendered bags, in all forms and some damaged: the fleet finds what ``detect`` finds.

Run by hand: ``python test/fleet/many_bags.py --bags 200``, with ``--ray auto --workers 2`` on Ray.
Pictures are of the rendered street, raw, JPEG and H.264 (VP9 where nothing here encodes that), in
MCAP and SQLite, with and without zstd; ten bags are damaged, each in another way. Every row of the
tables is compared with what the detector finds alone in a plain loop around each bag.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from fleet_bags import DAMAGES, HEIGHT, KINDS, WIDTH, damaged_bag, write_bag
from test_fleet_run import SCORE, alone, images_of, table
from videos import ENCODERS, av, encode, video_bag

from yolox_trt_ros.__main__ import main as tool
from yolox_trt_ros.bags.reader import Bag
from yolox_trt_ros.core.config import Config
from yolox_trt_ros.core.errors import BagError
from yolox_trt_ros.packaged_models import find_model
from yolox_trt_ros.sim.sources import open_source

FORMS = ('raw', 'jpeg', 'video')


def street(count: int) -> list[np.ndarray]:
    """Return pictures of the rendered street, uint8 (2 * HEIGHT, 2 * WIDTH, 3) BGR."""
    flat = {
        'camera_names': ['front'], 'lane_names': ['cpu'], 'sim.source': 'world',
    }  # fmt: skip
    config = Config.from_parameters(flat)
    source = open_source(config, config.cameras[0])
    pictures = (source.picture(i % source.count) for i in range(count))
    return [cv2.resize(picture, (2 * WIDTH, 2 * HEIGHT)) for picture in pictures]


def write_drives(folder: Path, count: int, images: int) -> None:
    """Write so many bags, of which as many as there are ways to damage them are damaged."""
    pictures = street(60)
    codec = 'h264' if any(name in av.codecs_available for name, _ in ENCODERS['h264']) else 'vp9'
    for number, damage in enumerate(DAMAGES):
        damaged_bag(folder / f'damaged{number:02}', damage)
    for number in range(count - len(DAMAGES)):
        path, form = folder / f'drive{number:03}', FORMS[number % len(FORMS)]
        own = [pictures[(7 * number + i) % len(pictures)] for i in range(images)]
        if form == 'video':
            packets = encode(codec, own)
            video_bag(path, {'/front/image_raw/foxglove': packets}, codec)
            continue
        encoding = 'bgr8' if form == 'raw' else 'jpeg'
        write_bag(
            path, KINDS[number // len(FORMS) % len(KINDS)], images=images, cameras=('front',),
            encodings=(encoding,), make=lambda seed, own=own: own[seed % 100_000 // 100],
        )  # fmt: skip


def readable(path: Path) -> bool:
    """Return whether anything of a bag can be read."""
    try:
        Bag(path, warn=lambda _: None).close()
    except BagError:
        return False
    return True


def compare(folder: Path, words: list[str], model: Path) -> bool:
    """Return whether the tables hold what the detector finds alone, bag by bag."""
    out = folder / 'out'
    given = [str(folder / 'drives'), '--out', str(out), '--model', str(model), *words]
    begun = time.monotonic()
    code = tool(['fleet', *given, '--score', str(SCORE), '--segment-s', '0.4'])
    took = time.monotonic() - begun
    whole = sorted(path for path in (folder / 'drives').iterdir() if readable(path))
    wanted = {}
    for path in whole:
        (folder / 'one').mkdir()
        (folder / 'one' / path.name).symlink_to(path)
        of_bag = alone(folder / 'one', model)
        wanted |= {(str(path), *key[1:]): rows for key, rows in of_bag.items()}
        (folder / 'one' / path.name).unlink()
        (folder / 'one').rmdir()
    found = images_of(out)
    bags = table(out, 'bags')
    refused = {Path(row['bag']).name for row in bags if row['problem']}
    expected = {path.name for path in (folder / 'drives').iterdir()} - {p.name for p in whole}
    differ = [key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key)]
    print(
        f'{len(bags)} bags, {len(refused)} of no use, {len(found)} images, '
        f'{sum(map(len, found.values()))} detections in {took:.0f} s; {len(differ)} images differ'
    )
    for key in sorted(differ)[:10]:
        print(f'  {key}: {wanted.get(key)} alone, {found.get(key)} in the tables')
    if refused != expected:
        print(f'  refused: {sorted(refused)}, expected {sorted(expected)}')
    return not differ and refused == expected and code == 1 and any(found.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--bags', type=int, default=200)
    parser.add_argument('--images', type=int, default=10, help='of each bag (default: 10)')
    parser.add_argument('--model', default='edge_n')
    parser.add_argument('--ray', default='')
    parser.add_argument('--workers', type=int, default=0)
    args = parser.parse_args()
    words = ['--ray', args.ray, '--workers', str(args.workers)] if args.ray else []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / 'drives').mkdir()
        write_drives(folder / 'drives', args.bags, args.images)
        return 0 if compare(folder, words, Path(find_model(args.model)).absolute()) else 1


if __name__ == '__main__':
    sys.exit(main())
