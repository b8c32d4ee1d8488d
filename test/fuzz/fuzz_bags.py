"""Bags that are cut, turned over, lie or are made to harm: MCAP, SQLite, ROS 1, metadata, zstd.

Whatever is in a bag, opening it, reading it and parsing its messages gives messages or a BagError.
"""

from __future__ import annotations

import logging
import random
import shutil
import struct
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from harness import Target
from mutation import damaged

sys.path.append(str(Path(__file__).resolve().parents[1] / 'bags'))

import mcap_files as mcap
import ros1_files
from bag_files import KINDS, MESSAGES, STRING, early_bag, rosbags_bag
from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat

from yolox_trt_ros.bags.definitions import Definitions
from yolox_trt_ros.bags.limits import MIB, Limits
from yolox_trt_ros.bags.metadata import load_yaml, read_qos
from yolox_trt_ros.bags.packing import DamageError
from yolox_trt_ros.bags.reader import Bag
from yolox_trt_ros.core.errors import BagError

LIMITS = Limits(memory_bytes=64 * MIB, disk_bytes=64 * MIB, seconds=5.0)
Files = dict[str, bytes]


def quiet() -> None:
    """Let warnings go nowhere: there are as many as inputs."""
    logging.getLogger('yolox_trt_ros.bags').addHandler(logging.NullHandler())
    logging.getLogger('yolox_trt_ros.bags').propagate = False


@cache
def seeds() -> list[Files]:
    """Return sound bags of all kinds, from which damage starts."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [rosbags_bag(Path(folder, f'bag{i}'), *kind) for i, kind in enumerate(KINDS)]
        paths.append(early_bag(Path(folder, 'early')))
        found = [{f.name: f.read_bytes() for f in sorted(path.iterdir())} for path in paths]
    for codec in ('', 'zstd', 'lz4'):
        made = b''.join(mcap.chunks(MESSAGES, codec))
        found.append({'a.mcap': mcap.header() + made + mcap.end()})
    found += [{'a.bag': ros1_files.bag(codec)} for codec in ('none', 'bz2', 'lz4')]
    return found


def make_bag(source: random.Random) -> Files:
    """Return a bag of which some file is damaged."""
    files = dict(source.choice(seeds()))
    names = [n for n in files if n != 'metadata.yaml'] if source.random() < 0.8 else list(files)
    name = source.choice(names)
    files[name] = damaged(files[name], source)
    if source.random() < 0.2 and len(files) > 1:
        files.pop('metadata.yaml', None)
    return files


def read_all(files: Files) -> None:
    """Write the files, open them as a bag, read and parse all messages."""
    folder = Path(tempfile.mkdtemp(prefix='fuzz_bag_', dir=memory_folder()))
    try:
        for name, content in files.items():
            (folder / name).write_bytes(content)
        path = folder if len(files) > 1 else folder / next(iter(files))
        with Bag(path, LIMITS) as bag:
            list(bag.messages(list(bag.topics)[:1], bag.start_ns + 1, bag.end_ns))
            for i, message in enumerate(bag.messages()):
                try:
                    if i % 16 == 0:
                        bag.parse(message)
                except BagError:
                    continue
    finally:
        shutil.rmtree(folder)


def memory_folder() -> str | None:
    """Return a folder in memory, if there is one."""
    return '/dev/shm' if Path('/dev/shm').is_dir() else None


# -- definitions and QoS -------------------------------------------------------------------------

DEFINITIONS = [
    'string data\n',
    'std_msgs/Header header\nuint8[] data\n'
    + '=' * 80
    + '\nMSG: std_msgs/Header\nuint32 seq\ntime stamp\nstring frame_id\n',
    'B[3] parts\nint32 X=3\nstring<=5 name "five"\n'
    + '=' * 80
    + '\nMSG: fuzz_msgs/B\nfloat64[9] x\n',
    'fuzz_msgs/A[] children\n',
    '=' * 80 + '\nIDL: fuzz_msgs/msg/A\nmodule fuzz_msgs { module msg { struct A { double x[9]; '
    'sequence<string> names; }; }; };\n',
]
PIECES = (
    'int32 x\n', 'B[1000000000] b\n', 'uint8[99999999999999999999] y\n', 'string<=', '[', ']',
    '[<=4]', '=' * 80 + '\n', 'MSG: fuzz_msgs/B\n', 'MSG: ../../x\n', '"', "'", '\n', '#', '\\',
    '{', '}', 'module x {', 'struct A {', ';', '@verbatim(', 'A a\n', 'wstring w\n', '9' * 5000,
    'int32 class\n', 'float64 NAN=nan\n', 'string S=\'"""\'\n', '\0', '\u2028',
    'const long X = (1 << 999999);',
)  # fmt: skip


def make_definition(source: random.Random) -> tuple[str, bool, bytes]:
    """Return a text, whether it is IDL, and bytes of a message."""
    text = source.choice(DEFINITIONS)
    for _ in range(source.randrange(4)):
        at = source.randrange(len(text) + 1)
        if source.random() < 0.5:
            text = text[:at] + source.choice(PIECES) + text[at:]
        else:
            text = text[:at] + text[at + source.randrange(1, 30) :]
    cdr = b'\0\1\0\0' + source.choice(
        (bytes(200), b'\xff' * 64, source.randbytes(100), struct.pack('<I', 2**32 - 1) * 20)
    )
    return text, source.random() < 0.4, cdr


def read_definition(made: tuple[str, bool, bytes]) -> None:
    """Parse a message by a definition that a bag brings."""
    text, idl, cdr = made
    kind = MessageDefinitionFormat.IDL if idl else MessageDefinitionFormat.MSG
    known = Definitions()
    known.give('fuzz_msgs/msg/A', MessageDefinition(kind, text), ros1=cdr[4] == 0)
    for attempt in (
        lambda: known.read('fuzz_msgs/msg/A', cdr),
        lambda: known.from_ros1('fuzz_msgs/msg/A', cdr),
        lambda: known.text_and_hash('fuzz_msgs/msg/A'),
    ):
        try:
            attempt()
        except BagError:
            continue


VALUES = (
    '1', '-1', '100000000000000000000', '1' * 5000, '2026-01-01', '.nan', 'null', '[]', '{}',
    '[[[[]]]]', '*a', '&a [*a]', '!!python/object:os.system x', '"\\x00"', 'TRANSIENT_LOCAL',
    '!!binary aGk=', '0x7fffffffffffffffffff', '1:30:00', '<<: {a: 1}', '!!set {a, b}',
    '? [1, 2]', '- - - 1',
)  # fmt: skip


def make_yaml(source: random.Random) -> tuple[Files, str]:
    """Return a bag with other values in its metadata, and a text of QoS."""
    files = dict(seeds()[0])
    lines = files['metadata.yaml'].decode().split('\n')
    for _ in range(source.choice((1, 1, 2, 5))):
        i = source.randrange(len(lines))
        key, colon, _ = lines[i].partition(':')
        if source.random() < 0.2:
            del lines[i : i + source.randrange(1, 4)]
            lines.append('')
        else:
            lines[i] = f'{key}{colon or ":"} {source.choice(VALUES)}'
    files['metadata.yaml'] = '\n'.join(lines).encode()
    qos = (
        f'- history: {source.choice(VALUES)}\n  depth: {source.choice(VALUES)}\n'
        f'  reliability: {source.choice(VALUES)}\n  durability: 1\n'
        f'  deadline: {{sec: {source.choice(VALUES)}, nsec: 0}}\n'
    )
    return files, qos


def read_yaml(made: tuple[Files, str]) -> None:
    """Read metadata and QoS."""
    files, qos = made
    for text in (qos, qos.replace('- ', '')):
        try:
            read_qos(text)
            load_yaml(text)
        except DamageError:
            continue
    read_all(files)


# -- made to harm --------------------------------------------------------------------------------


@cache
def bomb(mib: int) -> bytes:
    """Return few bytes that unpack to many."""
    return mcap.zstd.compress(bytes(mib * MIB))


def hostile_mcap(source: random.Random) -> Files:
    """Return an MCAP with odd names, types, encodings, times, sizes and packed bombs."""
    odd = ('/a', '', 'a', '/\x1b[31m', '/\udcff', '/' + 'x' * 70_000, '/a\n/b', '/ä', '//', '~/x')
    kinds = (STRING, 'this/msg/Zen', 'os/path', '../../x', '', 'a' * 300, 'Std_Msgs/x', 'x\0y')
    encodings = ('ros2msg', 'ros2idl', 'ros1msg', 'protobuf', 'jsonschema', '')
    inside = b''
    for number in range(source.randrange(1, 5)):
        text = source.choice((*DEFINITIONS, *PIECES))
        inside += mcap.schema(number, source.choice(kinds), source.choice(encodings), text)
        words = {'offered_qos_profiles': f'- depth: {source.choice(VALUES)}'}
        name, encoding = source.choice(odd), source.choice(('cdr', 'cdr', 'ros1', 'json', ''))
        inside += mcap.channel(number, source.randrange(5), name, encoding, words)
        t_ns = source.choice((0, 1, 10**18, 2**62, 2**63, 2**64 - 1))
        data = source.choice(
            (
                b'',
                b'\0\1\0\0' + bytes(40),
                b'\x28\xb5\x2f\xfd' + bytes(9),
                bomb(200),
            )
        )
        inside += mcap.message(source.randrange(5), t_ns, data)
    codec = source.choice(('', 'zstd', 'lz4'))
    size = source.choice((None, None, 0, 2**32, 2**63))
    made = mcap.chunk(inside, 0, source.choice((0, 10**18, 2**64 - 1)), codec, size, crc=0)
    if source.random() < 0.1:
        made += mcap.chunk(b'', 0, 1, 'zstd', 300 * MIB, 0, bomb(300))
    return {'a.mcap': mcap.header() + made * source.randrange(1, 4) + mcap.end()}


def targets() -> list[Target]:
    """Return the targets."""
    limits = {'errors': (BagError,), 'setup': quiet, 'seconds': 30.0, 'memory_mib': 3000}
    feeds: list[tuple[str, Callable[..., object], Callable[..., object], float]] = [
        ('bags', make_bag, read_all, 0.005),
        ('bag_definitions', make_definition, read_definition, 0.01),
        ('bag_metadata', make_yaml, read_yaml, 0.005),
        ('bags_hostile', hostile_mcap, read_all, 0.002),
    ]
    return [Target(name, make, feed, share=share, **limits) for name, make, feed, share in feeds]  # type: ignore[arg-type]


TARGETS = targets()
