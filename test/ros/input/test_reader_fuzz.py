"""Ten thousand damaged messages through the C++ reader under sanitizers; the tool does more."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).parent / 'fuzz' / 'fuzz.py'


@pytest.mark.skipif(not shutil.which('g++'), reason='needs g++ with its sanitizers')
def test_damaged_messages(tmp_path: Path) -> None:
    command = [sys.executable, str(FUZZ), '--runs', '10000', '--folder', str(tmp_path)]
    done = subprocess.run([*command, '--clang', ''], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert '10000 messages, no finding' in done.stdout


@pytest.mark.skipif(not shutil.which('g++'), reason='needs g++ with its sanitizers')
def test_a_reader_that_trusts_lengths_is_found(tmp_path: Path) -> None:
    tree = tmp_path / 'tree'
    here = FUZZ.relative_to(FUZZ.parents[4])
    (tree / here).parent.mkdir(parents=True)
    shutil.copytree(FUZZ.parents[4] / 'src', tree / 'src')
    for path in FUZZ.parent.glob('fuzz*'):
        shutil.copy(path, (tree / here).parent)
    reader = tree / 'src' / 'image_reader.cpp'
    text = reader.read_text()
    assert 'if (!cdr.jump(size)) {' in text
    reader.write_text(
        text.replace('if (!cdr.jump(size)) {', 'if (!cdr.jump(size) && size > 9000) {')
    )
    command = [sys.executable, str(tree / here), '--runs', '10000', '--clang', '']
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert 'AddressSanitizer' in done.stderr or 'violated' in done.stderr
