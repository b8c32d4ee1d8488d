"""Kill actors, a raylet and the driver of a fleet on three Ray nodes: every segment is there once.

Run by hand, where Ray is installed: ``python test/fleet/chaos.py --kills 4 --seed 1``. The nodes
have raylets of their own on this machine. The tables are compared with those of one process.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

COMMAND = [sys.executable, '-m', 'yolox_trt_ros', 'fleet']
SEGMENT_S = '0.2'
LONGEST_S = 900.0


def actors() -> list[int]:
    """Return the processes of the workers."""
    found = []
    for folder in Path('/proc').glob('[0-9]*'):
        try:
            if b'SegmentActor' in (folder / 'cmdline').read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def written(out: Path) -> int:
    """Return how many segments are there."""
    return sum(1 for _ in out.glob('segments/*/*.parquet'))


def tables(out: Path) -> dict[str, Counter[Any]]:
    """Return what is in the tables, counted, without what differs from run to run."""
    import pyarrow.dataset as dataset

    def rows(name: str, *columns: str) -> Counter[Any]:
        table = dataset.dataset(out / name, partitioning='hive').to_table(list(columns))
        return Counter(tuple(row.values()) for row in table.to_pylist())

    key = ('bag', 'segment', 'camera', 'stamp_ns')
    return {
        'segments': rows('segments', 'bag', 'segment', 'start_ns', 'stop_ns', 'status', 'images'),
        'images': rows('images', *key, 'detections'),
        'detections': rows('detections', *key, 'class', 'score', 'x1', 'y1', 'x2', 'y2'),
    }


def ports(number: int) -> dict[str, int]:
    """Return ports of a node's agents that no other node here has."""
    base = 53100 + 10 * number
    names = ('metrics_agent_port', 'metrics_export_port', 'runtime_env_agent_port')
    return {name: base + i for i, name in enumerate((*names, 'dashboard_agent_listen_port'))}


def run(folder: Path, kills: int, seed: int, bags: int) -> int:
    """Return 1 if the tables differ from those of an undisturbed run."""
    from fleet_bags import write_bag
    from ray.cluster_utils import Cluster
    from tiny_models import write_yolox

    chance = random.Random(seed)
    model = write_yolox(folder / 'tiny.onnx', ballast=40)
    (folder / 'drives').mkdir()
    for i in range(bags):
        write_bag(folder / 'drives' / f'bag{i}', images=8, seed=i)
    words = [str(folder / 'drives'), '--model', str(model), '--segment-s', SEGMENT_S, '--out']
    subprocess.run([*COMMAND, *words, str(folder / 'here')], check=True)
    wanted = written(folder / 'here')
    cluster = Cluster(True, head_node_args={'num_cpus': 0, 'include_dashboard': False, **ports(0)})
    nodes = [cluster.add_node(num_cpus=1, **ports(1)), cluster.add_node(num_cpus=1, **ports(2))]
    print(f'three nodes: {cluster.address}; {wanted} segments', flush=True)
    out, end, resume = folder / 'there', time.monotonic() + LONGEST_S, []
    next_port = 3
    todo = ['actor', 'driver', 'raylet', *chance.choices(['actor', 'driver', 'raylet'], k=kills)]
    todo = todo[: max(kills, 3)]
    while time.monotonic() < end:
        cluster_words = ['--ray', cluster.address, '--workers', '2', *resume]
        driver = subprocess.Popen([*COMMAND, *words, str(out), *cluster_words])
        begun = written(out)
        while driver.poll() is None and time.monotonic() < end:
            time.sleep(chance.uniform(0.3, 1.5))
            if not todo or written(out) < begun + chance.randint(1, 3):
                continue
            begun, what = written(out), todo.pop(0)
            print(f'{begun} of {wanted} segments: killing {what}', flush=True)
            if what == 'actor' and (found := actors()):
                os.kill(chance.choice(found), signal.SIGKILL)
            elif what == 'raylet':
                cluster.remove_node(nodes.pop(0), allow_graceful=False)
                nodes.append(cluster.add_node(num_cpus=1, **ports(next_port)))
                next_port += 1
            elif what == 'driver':
                driver.kill()
        if driver.wait() == 0:
            break
        resume = ['--resume'] * (out / 'run.json').is_file()
    cluster.shutdown()
    same = tables(out) == tables(folder / 'here')
    left = f', {len(todo)} kills were not done' if todo else ''
    print(f'{written(out)} of {wanted} segments, tables {"equal" if same else "DIFFER"}{left}')
    return 0 if same and not todo else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--kills', type=int, default=3)
    parser.add_argument('--bags', type=int, default=6)
    parser.add_argument('--seed', type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        return run(Path(name), args.kills, args.seed, args.bags)


if __name__ == '__main__':
    sys.exit(main())
