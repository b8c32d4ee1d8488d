"""What is made of tables of a fleet: queries, page, accuracy, COCO labels, bags beside drives."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip('pyarrow', reason='the extra [fleet] is not installed')
pytest.importorskip('duckdb', reason='the extra [fleet] is not installed')

import pyarrow.parquet as parquet
from fleet_bags import PERIOD_NS, T0, write_bag
from tiny_models import write_yolox

from yolox_trt_ros.__main__ import main
from yolox_trt_ros.bags.reader import Bag
from yolox_trt_ros.core.errors import ConfigError, YoloxTrtRosError
from yolox_trt_ros.core.messages import stamp_ns_of
from yolox_trt_ros.datasets.labelled import LabelledBoxes
from yolox_trt_ros.evaluation.coco_metrics import average_precision
from yolox_trt_ros.fleet.plan import bag_id
from yolox_trt_ros.fleet.query import ResultTables
from yolox_trt_ros.fleet.store import Store
from yolox_trt_ros.image_files import read_image

ARRAY = 'vision_msgs/msg/Detection2DArray'
HOUR_NS = 3600 * 10**9
# 2023-11-14 22:13:20 UTC


@pytest.fixture(scope='module')
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the results of two bags with ground truth, one of rain, two hours apart."""
    folder = tmp_path_factory.mktemp('answers')
    model = write_yolox(folder / 'tiny.onnx')
    write_bag(folder / 'dry', images=3, truth=True)
    write_bag(folder / 'wet <b>', images=2, truth=True, seed=50, t0=T0 - 4 * HOUR_NS)
    (folder / 'all.csv').write_text('bag,weather\ndry,sun\nwet <b>,rain\n')
    words = ['fleet', folder / 'all.csv', '--out', folder / 'out', '--model', model]
    words += ['--score', 0.05, '--coco', '--sidecars']
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('yolox_trt_ros.tools.fleet.measured_rate', lambda *_: 0.0)
        assert main([*map(str, words)]) == 0
    return folder / 'out'


def ask(out: Path, sql: str, timezone: str = 'UTC') -> list[tuple[Any, ...]]:
    with ResultTables(Store(str(out)), timezone) as tables:
        return tables.ask(sql)[1]


def test_tables_are_asked_in_sql(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    late = "SELECT DISTINCT regexp_extract(bag, '[^/]*$') FROM images WHERE hour(time) >= 20"
    assert ask(out, late) == [('dry',)]
    assert len(ask(out, late, 'Asia/Tokyo')) == 0, '7 and 3 o’clock there'
    both = (
        "SELECT count(*) FROM images WHERE list_has_all(classes, ['car', 'person']) "
        "AND day = '2023-11-14'"
    )
    by_hand = ask(
        out,
        'SELECT count(*) FROM (SELECT 1 FROM detections GROUP BY bag, camera, stamp_ns '
        "HAVING bool_or(class = 'car') AND bool_or(class = 'person'))",
    )
    assert ask(out, both) == by_hand and by_hand[0][0] > 0
    assert main(['fleet', 'query', 'SELECT 1 AS one', '--out', str(out), '--format', 'json']) == 0
    assert json.loads(capsys.readouterr().out) == [{'one': 1}]
    with pytest.raises(ConfigError, match='nonsense'):
        ask(out, 'SELECT nonsense FROM detections')
    with pytest.raises(ConfigError, match='--timezone Mars'):
        ask(out, 'SELECT 1', 'Mars')


def test_pictures_of_rows_are_taken_out_of_the_bags(out: Path, tmp_path: Path) -> None:
    sql = f"SELECT * FROM images WHERE camera LIKE '%rear%' AND stamp_ns >= {T0}"
    words = ['fleet', 'query', sql, '--out', out, '--pictures', tmp_path, '--format', 'csv']
    assert main([*map(str, words)]) == 0
    found = sorted(tmp_path.rglob('*.jpg'))
    assert len(found) == 3
    assert read_image(found[0]).shape == (120, 160, 3)
    named = {str(file.relative_to(tmp_path)) for file in found}
    listed = {image['file_name'] for image in json.loads((out / 'coco.json').read_text())['images']}
    assert named < listed, 'COCO labels are of files of these names'
    words[2] = 'SELECT class FROM detections'
    assert main([*map(str, words)]) == 1


def test_accuracy_is_that_of_everything_together(out: Path) -> None:
    figures = json.loads((out / 'quality.json').read_text())
    keys = ask(out, 'SELECT bag, camera, stamp_ns FROM images ORDER BY ALL')
    names = ['car', 'bus']  # what both know, in the order of the ground truth's names
    labels, found = [], []
    for key in keys:
        rows = ask(
            out,
            'SELECT x1, y1, x2, y2, score, class FROM detections WHERE class IN '
            f"('car', 'bus') AND (bag, camera, stamp_ns) = {key!r} ORDER BY score DESC",
        )
        labels.append(LabelledBoxes([[10, 20, 60, 90]], [0], [False]))
        found.append(
            ([r[:4] for r in rows], [r[4] for r in rows], [names.index(r[5]) for r in rows])
        )
    expected = average_precision(labels, found, names)
    assert figures['all']['map50_95'] == expected['map50_95']
    assert figures['all']['per_class']['car'] == expected['per_class']['car']
    assert figures['all']['images'] == 10
    by = figures['by']
    assert {'weather=sun': 6, 'weather=rain': 4}.items() <= {
        name: of['images'] for name, of in by.items()
    }.items()
    assert figures['all']['by_distance'][0]['labelled'] == 10


def test_the_page_escapes_and_shows(out: Path) -> None:
    page = (out / 'report.html').read_text()
    assert 'wet <b>' not in page and 'wet &lt;b&gt;' in page
    for words in ('Slowest bags', 'Classes by hour', 'weather=rain', 'Worst misses', 'rarest'):
        assert words in page
    assert page.count('data:image/jpeg') >= 4
    (out / 'report.html').unlink()
    assert main(['fleet', 'report', '--out', str(out)]) == 0
    assert (out / 'report.html').is_file()


def test_coco_labels_hold_every_detection(out: Path) -> None:
    labels = json.loads((out / 'coco.json').read_text())
    assert len(labels['images']) == 10
    assert len(labels['annotations']) == ask(out, 'SELECT count(*) FROM detections')[0][0]
    assert [c['name'] for c in labels['categories']] == ['car', 'person', 'bus']


def test_bags_beside_the_drives_hold_every_detection(out: Path) -> None:
    (bag,) = ask(out, "SELECT bag FROM bags WHERE bag LIKE '%dry'")[0]
    with Bag(out / 'sidecars' / bag_id(bag)) as sidecar, Bag(bag) as drive:
        assert sidecar.start_ns >= drive.start_ns and sidecar.end_ns <= drive.end_ns
        topics = sidecar.of_type('vision_msgs/msg/Detection2DArray')
        assert len(topics) == 2
        messages = [parsed for _, parsed in sidecar.parsed(topics)]
    counted = {stamp_ns_of(message): len(message.detections) for message in messages}
    rows = ask(out, f"SELECT stamp_ns, detections FROM images WHERE bag = '{bag}'")
    assert counted == dict(rows)
    item = next(m for m in messages if m.detections).detections[0]
    stamp = stamp_ns_of(item)
    box = ask(
        out,
        f'SELECT x1, x2, score, class_id, frame_id FROM detections WHERE stamp_ns = {stamp} '
        'ORDER BY score DESC',
    )[0]
    assert item.bbox.center.position.x == pytest.approx((box[0] + box[1]) / 2, abs=1e-3)
    assert item.bbox.size_x == pytest.approx(box[1] - box[0], abs=1e-3)
    hypothesis = item.results[0].hypothesis
    assert (hypothesis.score, hypothesis.class_id) == (pytest.approx(box[2]), str(box[3]))
    assert item.header.frame_id == box[4] != ''


def test_images_of_one_stamp_keep_no_boxes(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two of three pictures of a camera get the same stamp, as drivers that leave it 0 do."""
    shutil.copytree(out, tmp_path / 'out')
    for name in ('images', 'detections', 'truth'):
        for file in (tmp_path / 'out' / name).rglob('dry*.parquet'):
            old = parquet.read_table(file, partitioning=None)
            rows = old.to_pylist()
            for row in rows:
                row['stamp_ns'] = min(row['stamp_ns'], T0 + PERIOD_NS + row['stamp_ns'] % 1_000_000)
            parquet.write_table(type(old).from_pylist(rows, old.schema), file)
    words = ['--out', str(tmp_path / 'out')]
    assert main(['fleet', 'report', *words, '--coco', '--sidecars']) == 0
    said = capsys.readouterr().err
    assert '4 images share their header stamp' in said
    assert 'front/image_raw: 3 messages share 1 header stamp' in said
    labels = json.loads((tmp_path / 'out' / 'coco.json').read_text())
    assert len(labels['images']) == 6
    (bag,) = ask(out, "SELECT bag FROM bags WHERE bag LIKE '%dry'")[0]
    with Bag(tmp_path / 'out' / 'sidecars' / bag_id(bag)) as sidecar:
        assert sum(1 for _ in sidecar.parsed(sidecar.of_type(ARRAY))) == 2
    sql = f"SELECT * FROM images WHERE bag = '{bag}'"
    pictures = ['--pictures', str(tmp_path / 'pictures')]
    assert main(['fleet', 'query', sql, *words, *pictures, '--format', 'json']) == 1
    assert len(list((tmp_path / 'pictures').rglob('*.jpg'))) == 2
    assert capsys.readouterr().err.count('2 images of ') == 2


def test_a_report_that_cannot_be_written_says_so(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise YoloxTrtRosError('no space left')

    monkeypatch.setattr(Store, 'write', full)
    assert main(['fleet', 'report', '--out', str(out)]) == 1
