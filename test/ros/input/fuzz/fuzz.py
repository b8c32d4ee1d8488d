#!/usr/bin/env python3
"""Send damaged image messages through the C++ reader under AddressSanitizer and UBSan.

With clang, libFuzzer looks for messages that reach new code. Without it, g++ and random damage
have to do, which this says. Ends with status 1 at the first finding.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage, Image

ROOT = Path(__file__).resolve().parents[4]
SOURCES = (
    'test/ros/input/fuzz/fuzz_image_reader.cpp',
    'src/direct_type_support.cpp',
    'src/image_reader.cpp',
    'src/ring.cpp',
)
LIBRARIES = ('fastcdr', 'rosidl_runtime_c')
SANITIZERS = 'address,undefined'
LONGEST = 20_000


def seeds() -> Iterator[bytes]:
    """Yield sound messages, from which damage starts."""
    for frame_id in ('', 'front_wide_optical_frame'):
        for encoding, step in (('bgr8', 24), ('mono8', 8), ('nv12', 8), ('bayer_rggb8', 8)):
            image = Image(height=4, width=8, encoding=encoding, step=step, data=bytes(6 * step))
            image.header.frame_id = frame_id
            yield bytes(serialize_message(image))
        packed = CompressedImage(format='bgr8; jpeg compressed bgr8', data=b'\xff\xd8\xff\xe0')
        packed.header.frame_id = frame_id
        yield bytes(serialize_message(packed))
    yield b'\0\0\0\0' + struct.pack(
        '>iII4sIII5sB2xII', 5, 6, 4, b'cam\0', 1, 1, 5, b'bgr8\0', 0, 3, 3
    )


def damaged(count: int, seed: int) -> Iterator[bytes]:
    """Yield seeds with bytes and 32-bit numbers replaced, cut off or put in."""
    source = random.Random(seed)
    sound = list(seeds())
    edges = (0, 1, 2, 4095, 4096, 4097, 2**31 - 1, 2**31, 2**32 - 1)
    for _ in range(count):
        raw = bytearray(source.choice(sound))
        for _ in range(source.randint(1, 5)):
            at = source.randrange(len(raw) + 1)
            kind = source.randrange(5)
            if kind == 0:
                raw[at : at + 1] = source.randbytes(1)
            elif kind == 1:
                number = source.choice((*edges, len(raw), len(raw) - at))
                raw[at // 4 * 4 : at // 4 * 4 + 4] = struct.pack('=I', number)
            elif kind == 2:
                del raw[at:]
            elif kind == 3:
                raw[at:at] = source.randbytes(source.randint(1, 40))
            else:
                raw[1:4] = bytes([source.randrange(12), 0, source.randrange(4)])
        yield bytes(raw)


def prefixes() -> list[Path]:
    """Return where this ROS 2 is installed, and where Fast CDR may be."""
    found = os.environ.get('AMENT_PREFIX_PATH', sys.prefix).split(os.pathsep)
    return [*map(Path, found), Path('/usr')]


def include_options() -> list[str]:
    """Return what a compiler needs to find the headers of ROS 2, a folder for each package."""
    folders = [prefix / 'include' for prefix in prefixes()]
    for folder in list(folders):
        folders += sorted(path for path in folder.glob('*') if (path / path.name).is_dir())
    return [f'-I{folder}' for folder in folders]


def library_options() -> list[str]:
    """Return what a linker needs to find the libraries of ROS 2, when it runs and later."""
    folders = [prefix / 'lib' for prefix in prefixes()]
    return [option for folder in folders for option in (f'-L{folder}', f'-Wl,-rpath,{folder}')]


def build(compiler: str, options: list[str], program: Path) -> None:
    """Compile the target.

    Raises:
        subprocess.CalledProcessError: it does not compile.
    """
    command = [compiler, '-std=c++17', '-O1', '-g', '-fno-sanitize-recover=all', *options]
    command += [f'-I{ROOT / "src"}', *include_options()]
    command += [str(ROOT / source) for source in SOURCES]
    command += [*library_options(), *(f'-l{name}' for name in LIBRARIES)]
    program.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([*command, '-o', str(program)], check=True)


def guided(compiler: str, arguments: argparse.Namespace) -> int:
    """Let libFuzzer choose the messages."""
    program = arguments.folder / 'guided'
    build(compiler, [f'-fsanitize=fuzzer,{SANITIZERS}'], program)
    corpus = arguments.folder / 'corpus'
    corpus.mkdir(exist_ok=True)
    for number, message in enumerate(seeds()):
        (corpus / f'seed_{number}').write_bytes(message)
    limits = [f'-runs={arguments.runs}', f'-seed={arguments.seed}', f'-max_len={LONGEST}']
    artifacts = f'-artifact_prefix={arguments.folder}/'
    return subprocess.run([str(program), *limits, artifacts, str(corpus)]).returncode


def replayed(compiler: str, arguments: argparse.Namespace) -> int:
    """Damage messages at random."""
    print('no clang++: random damage, not guided by coverage', file=sys.stderr)
    program = arguments.folder / 'replay'
    build(compiler, [f'-fsanitize={SANITIZERS}', '-DREPLAY'], program)
    messages = arguments.folder / 'messages'
    with messages.open('wb') as file:
        for message in damaged(arguments.runs, arguments.seed):
            file.write(struct.pack('=I', len(message)) + message)
    return subprocess.run([str(program), str(messages)]).returncode


def main() -> int:
    """Build the target and run it; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('--runs', type=int, default=1_000_000, help='damaged messages')
    parser.add_argument('--seed', type=int, default=1, help='seed of the damage')
    parser.add_argument('--clang', default=shutil.which('clang++'), help='clang++ with libFuzzer')
    parser.add_argument(
        '--folder', type=Path, default=ROOT / 'build' / 'fuzz', help='for programs and findings'
    )
    arguments = parser.parse_args()
    try:
        if arguments.clang:
            return bool(guided(arguments.clang, arguments))
        return bool(replayed(os.environ.get('CXX', 'g++'), arguments))
    except subprocess.CalledProcessError as error:
        print(f'fuzz: {error.cmd[0]} failed ({error.returncode})', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == '__main__':
    sys.exit(main())
