"""Drives and results in an object store, through a server of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip('pyarrow', reason='the extra [fleet] is not installed')
import pyarrow.fs as arrow
from fleet_bags import write_bag
from tiny_models import write_yolox

from yolox_trt_ros.__main__ import main
from yolox_trt_ros.fleet.find import find_bags
from yolox_trt_ros.fleet.query import ResultTables
from yolox_trt_ros.fleet.store import Store


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[arrow.S3FileSystem, str]]:
    """Return a file system with two buckets, and what has to stand behind its URIs."""
    server = pytest.importorskip('moto.server', reason='moto[server] is not installed')
    monkeypatch.setenv('AWS_ACCESS_KEY_ID', 'test')
    monkeypatch.setenv('AWS_SECRET_ACCESS_KEY', 'test')
    monkeypatch.setenv('AWS_EC2_METADATA_DISABLED', 'true')
    running = server.ThreadedMotoServer('127.0.0.1', port=0, verbose=False)
    running.start()
    _, port = running.get_host_and_port()
    s3 = arrow.S3FileSystem(
        endpoint_override=f'127.0.0.1:{port}', scheme='http', region='us-east-1',
        allow_bucket_creation=True,
    )  # fmt: skip
    s3.create_dir('drives')
    s3.create_dir('results')
    yield s3, f'?endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1'
    running.stop()


def test_drives_and_results_in_an_object_store(
    tmp_path: Path, bucket: tuple[arrow.S3FileSystem, str]
) -> None:
    s3, options = bucket
    folder = tmp_path / 'local'
    folder.mkdir()
    for i, storage in enumerate(('mcap', 'sqlite3')):
        write_bag(folder / f'bag{i}', (storage, 'none'), images=4, seed=i)
    arrow.copy_files(str(folder), 'drives/november', destination_filesystem=s3)
    there = f's3://drives/november{options}'
    assert [bag.uri.partition('?')[0] for bag in find_bags([there])] == [
        's3://drives/november/bag0', 's3://drives/november/bag1',
    ]  # fmt: skip
    assert len(find_bags([f's3://drives/nov*/*1{options}'])) == 1
    Store(f's3://drives/november{options}').write('all.csv', b'bag,road\nbag1,town\n')
    (named,) = find_bags([f's3://drives/november/all.csv{options}'])
    assert (named.uri, named.conditions) == (
        f's3://drives/november/bag1{options}',
        {'road': 'town'},
    )
    model = write_yolox(tmp_path / 'tiny.onnx')
    out = f's3://results/run{options}'
    words = ['--model', str(model), '--segment-s', '0.2', '--score', '0.5', '--out']
    assert main(['fleet', there, *words, out]) == 0
    assert main(['fleet', str(folder), *words, str(tmp_path / 'out')]) == 0
    sql = (
        "SELECT regexp_extract(bag, 'bag[01]'), segment, camera, stamp_ns, class, score, x1 "
        'FROM detections ORDER BY ALL'
    )
    answers = []
    for place in (out, str(tmp_path / 'out')):
        with ResultTables(Store(place)) as tables:
            answers.append(tables.ask(sql)[1])
    assert answers[0] == answers[1] != []
    assert main(['fleet', there, *words, out, '--resume']) == 0
    assert b'<title>Fleet' in (Store(out).read('report.html') or b'')
