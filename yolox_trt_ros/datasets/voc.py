"""Pascal VOC: an XML file a picture, in a folder, named by a list of a split, or alone."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from yolox_trt_ros.core.errors import ConfigError
from yolox_trt_ros.core.output_files import write_whole
from yolox_trt_ros.core.printing import one_line, shown
from yolox_trt_ros.core.text_files import finite_number, read_bytes, read_text
from yolox_trt_ros.datasets.faults import Fault, Faults
from yolox_trt_ros.datasets.labelled import (
    BoxRow,
    ClassNumbers,
    LabelledData,
    LabelledImage,
    boxes_of,
)
from yolox_trt_ros.datasets.places import box_to_last_pixel, numbers_of, picture_with, safe_name

MOST_BYTES = 64 << 20
"""Of one file; labels of a picture have some kilobytes."""
ANNOTATIONS, IMAGES = 'Annotations', 'JPEGImages'
_ENCODING = re.compile(rb'<\?xml[^>]*encoding=["\']([A-Za-z0-9._-]+)["\']')
_DECLARATION = re.compile(r'^\s*<\?xml[^>]*\?>')
_ENCODINGS = {'utf-8', 'utf8', 'us-ascii', 'ascii', 'iso-8859-1', 'latin-1', 'windows-1252'}


def read(path: Path, pictures: Path | None, files: Iterable[Path]) -> LabelledData:
    """Return what VOC files say; files and objects that cannot be used are counted.

    Pixels are numbered from 1 and the last one belongs to the box: VOC's ``xmin`` to ``xmax`` is
    ``xmin - 1`` to ``xmax`` from the picture's edge. ``difficult`` objects are ignored; the
    extension ``distance_m`` is read.

    Args:
        path: what the user named.
        pictures: folder of the pictures; None: ``JPEGImages`` beside the labels, or their own.
        files: the labels.
    """
    faults, numbers = Faults(), ClassNumbers()
    images = []
    for file in files:
        try:
            root = _tree(file)
        except ConfigError as error:
            faults.add(Fault.LABEL_FILE, str(error))
            continue
        rows, where = [], one_line(file.name)
        for i, entry in enumerate(root.iter('object')):
            row = _row(entry, f'{where}: object {i + 1}', numbers, faults)
            if row is not None:
                rows.append(row)
        picture, name = _picture(file, root, pictures)
        size = root.find('size')
        width, height = (_pixels(size, key) for key in ('width', 'height'))
        images.append(LabelledImage(name, picture, width, height, boxes_of(rows)))
    classes, images = numbers.sorted(images)
    return LabelledData(path.name, 'voc', classes, images, faults)


def files_of(path: Path) -> list[Path]:
    """Return the XML files that a folder, a list of a split or a file stands for.

    Raises:
        ConfigError: there is none, or the list cannot be read.
    """
    if path.suffix.lower() == '.xml':
        return [path]
    if path.is_dir():
        inner = path / ANNOTATIONS
        files = sorted((inner if inner.is_dir() else path).rglob('*.xml'))
    else:  # VOC/ImageSets/Main/<split>.txt
        base = path.parents[2] / ANNOTATIONS
        lines = read_text(path, what='a list of pictures').splitlines()
        files = [base / f'{line.split()[0]}.xml' for line in lines if line.strip()]
    if not files:
        raise ConfigError(f'{one_line(path)}: expected XML files of Pascal VOC, got none')
    return files


def _tree(file: Path) -> ElementTree.Element:
    """Return the root of a VOC file.

    Raises:
        ConfigError: it cannot be read, is no XML in an encoding that is read, or no annotation.
    """
    where = one_line(file)
    content = read_bytes(file, most_bytes=MOST_BYTES, what='labels of Pascal VOC')
    utf16 = content[:2] in (b'\xff\xfe', b'\xfe\xff')
    named = _ENCODING.search(content[:200])
    encoding = 'utf-16' if utf16 else named[1].decode().lower() if named else 'utf-8'
    if not utf16 and encoding not in _ENCODINGS:
        raise ConfigError(f'{where}: the encoding {shown(encoding)} is not read: save it as UTF-8')
    try:
        text = content.decode('utf-8-sig' if encoding in ('utf-8', 'utf8') else encoding)
    except UnicodeDecodeError as cause:
        raise ConfigError(
            f'{where}: expected {encoding.upper()}, got the byte 0x{content[cause.start]:02x} at '
            f'{cause.start}: save it as UTF-8'
        ) from cause
    if '<!DOCTYPE' in text or '<!ENTITY' in text:
        raise ConfigError(f'{where}: has a DOCTYPE, which labels do not need and which is not read')
    try:
        root = ElementTree.fromstring(_DECLARATION.sub('', text))
    except (ElementTree.ParseError, ValueError, RecursionError) as cause:
        raise ConfigError(f'{where}: not XML: {one_line(cause)}') from cause
    if root.tag != 'annotation':
        raise ConfigError(f'{where}: expected <annotation>, got <{one_line(root.tag)[:40]}>')
    return root


def _row(
    entry: ElementTree.Element, place: str, numbers: ClassNumbers, faults: Faults
) -> BoxRow | None:
    name = (entry.findtext('name') or '').strip()
    if not name:
        faults.add(Fault.BROKEN_ENTRY, f'{place}: has no <name>')
        return None
    box = entry.find('bndbox')
    if box is None:
        faults.add(Fault.NO_BOX, f'{place}: {shown(name)} has no <bndbox>')
        return None
    texts = [box.findtext(key) or '' for key in ('xmin', 'ymin', 'xmax', 'ymax')]
    found = numbers_of([_number(text) for text in texts])
    if found is None:
        faults.add(Fault.BROKEN_ENTRY, f'{place}: bndbox: expected 4 numbers, got {shown(texts)}')
        return None
    pixels = box_to_last_pixel((found[0] - 1, found[1] - 1), (found[2] - 1, found[3] - 1))
    if pixels is None:
        faults.add(Fault.NEGATIVE_BOX, f'{place}: {shown(texts)}')
        return None
    difficult = (entry.findtext('difficult') or '0').strip() not in ('0', '', 'false')
    distance = _number(entry.findtext('distance_m') or '')
    return BoxRow(pixels, numbers[name], difficult, None, distance or math.nan)


def _number(text: str) -> float:
    try:
        return finite_number(text.strip())
    except ValueError:
        return math.nan


def _pixels(size: ElementTree.Element | None, key: str) -> int:
    value = _number(size.findtext(key) or '') if size is not None else 0.0
    return int(value) if 0 < value < 1e6 else 0


def _picture(file: Path, root: ElementTree.Element, pictures: Path | None) -> tuple[Path, str]:
    """Return where a label file's picture is, and its name in the data set."""
    base = next((p for p in file.parents if p.name == ANNOTATIONS), None)
    inner = file.relative_to(base) if base else Path(file.name)
    written = PurePosixPath((root.findtext('filename') or '').strip().replace('\\', '/')).name
    folders = [pictures] if pictures else [base.parent / IMAGES if base else file.parent]
    folders += [] if pictures else [file.parent]
    name = written or f'{inner.stem}.jpg'
    for folder in folders:
        if os.path.isfile(folder / inner.parent / name):
            return folder / inner.parent / name, (inner.parent / name).as_posix()
        if there := picture_with(folder / inner.with_suffix('')):
            return there, there.relative_to(folder).as_posix()
    return folders[0] / inner.parent / name, (inner.parent / name).as_posix()


def write(data: LabelledData, folder: Path, split: str) -> Faults:
    """Write ``Annotations`` and a list of the split; the pictures belong into ``JPEGImages``."""
    lost, stems = Faults(), []
    for image in data.images:
        boxes, name = image.boxes, safe_name(image.name)
        if other := boxes.outlined():
            lost.add(Fault.LOST_AREA, image.name, other)
        stems.append(PurePosixPath(name).with_suffix('').as_posix())
        write_whole(folder / ANNOTATIONS / f'{stems[-1]}.xml', _xml(data, image, name))
    lists = folder / 'ImageSets' / 'Main' / f'{split}.txt'
    write_whole(lists, ''.join(f'{stem}\n' for stem in stems))
    return lost


def _xml(data: LabelledData, image: LabelledImage, name: str) -> str:
    lines = [
        '<annotation>',
        f'  <folder>{IMAGES}</folder>',
        f'  <filename>{escape(PurePosixPath(name).name)}</filename>',
        f'  <size><width>{image.width}</width><height>{image.height}</height>'
        '<depth>3</depth></size>',
    ]
    for (x0, y0, x1, y1), class_id, ignored, _, distance in image.boxes.rows():
        far = f'<distance_m>{distance:.9g}</distance_m>' if math.isfinite(distance) else ''
        lines += [
            f'  <object><name>{escape(data.classes[class_id])}</name>'
            f'<difficult>{int(ignored)}</difficult>{far}',
            f'    <bndbox><xmin>{x0 + 1:.12g}</xmin><ymin>{y0 + 1:.12g}</ymin>'
            f'<xmax>{x1:.12g}</xmax><ymax>{y1:.12g}</ymax></bndbox>',
            '  </object>',
        ]
    return '\n'.join([*lines, '</annotation>\n'])
