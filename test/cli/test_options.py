"""What an option would not change is refused, whatever the tool."""

from __future__ import annotations

from typing import Any

import pytest

from yolox_trt_ros.__main__ import main

INT8 = '--precision int8'


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('detect --images {photo} --ranges r.json', '--ranges: for --backend tensorrt only'),
        (f'detect --images {{photo}} {INT8}', 'precision: a cpu lane computes as the model'),
        (
            'detect --images {photo} --backend tensorrt --device cuda:0 --ranges r.json',
            '--ranges: for --precision int8 only',
        ),
        ('evaluate --world val --ranges r.json', '--ranges: for --backend tensorrt only'),
        ('evaluate --world val --truth-topic /t', '--truth-topic: for --bag and --live only'),
        ('evaluate --bag b --model edge_s', '--model: for --world and --data only'),
        ('evaluate --live 1 --score 0.5', '--score: for --world and --data only'),
        ('evaluate --bag b --min-height 25', '--min-height: for --world and --data only'),
        ('evaluate --coco d a.json --worlds 2', '--worlds: for --world only'),
        ('evaluate --data a.json --worlds 2', '--worlds: for --world only'),
        ('evaluate --world val --classes c', '--classes: for --data only'),
        ('evaluate --bag b --output o', '--output: for --world and --data only'),
        ('quantize edge_n --output o --world val --names n', '--names: for --data only'),
        (f'compare edge_n edge_s {INT8}', '--precision: for --device cuda:N or dla:N only'),
        ('compare edge_n edge_s --inner all', '--inner: for --device cuda:N or dla:N only'),
        ('compare edge_n edge_n --topic /t', '--topic: for --bag only'),
        (f'build --vehicle orin_8cam {INT8} --batch 2', '--precision, --batch: for a MODEL'),
        ('build edge_n --runs 0 --layers', '--layers: for --runs above 0 only'),
        ('build edge_n --dla-sram-kib 1', '--dla-sram-kib: for --device dla:N only'),
        ('quantize edge_n --output o --no-gate --max-drop 1', '--max-drop: for runs without'),
        ('quantize edge_n --output o --world val --topic /t --no-gate', '--topic: for --bag only'),
        ('replay b --vehicle v --lockstep --reliability best_effort', '--reliability: lockstep'),
        ('report b --model edge_n', '--model: for --replay only'),
        ('report --live 1 --vehicle v --topics /t', '--topics: for --replay only'),
        ('report --replay b --vehicle v --images c', '--images: for BAG only'),
        ('report --replay b --vehicle v --detector d', '--detector: for BAG and --live only'),
    ],
)
def test_an_option_without_effect_is_refused(
    line: str, message: str, tmp_path: Any, capsys: Any, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    photo = tmp_path / 'photo.png'
    photo.touch()
    assert main(line.format(photo=photo).split()) == 1
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) <= 2
