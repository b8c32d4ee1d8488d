"""Drawings made of a few kinds of shapes, written as SVG; :mod:`report.picture` makes pixels.

Positions are CSS pixels from the top left. Colours are names of :data:`PALETTE`, so that a page can
give them other values in the dark, or ``#rrggbb``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from yolox_trt_ros.core.errors import MissingDependencyError
from yolox_trt_ros.core.printing import one_line

try:
    from markupsafe import Markup
except ImportError as error:
    raise MissingDependencyError(
        'reports need Jinja2: apt install python3-jinja2, or pip install jinja2'
    ) from error

CAMERA_COLOURS = (
    '#4269d0', '#efb118', '#ff725c', '#6cc5b0', '#3ca951', '#ff8ab7', '#a463f2', '#97bbf5',
    '#9c6b4e', '#9498a0',
)  # fmt: skip
"""Ten colours that stay apart for colour-blind eyes (Observable 10)."""
PALETTE = {
    'ink': '#1b2330',
    'soft': '#5b6675',
    'grid': '#e3e7ed',
    'track': '#f1f3f6',
    'paper': '#ffffff',
    'ok': '#2f9e6b',
    'warn': '#d99a17',
    'error': '#d6453d',
    'stale': '#8d7ae0',
    'accent': '#3b6fd6',
    **{f'c{i}': colour for i, colour in enumerate(CAMERA_COLOURS)},
}
"""Colours by name, as on white paper."""


def camera_colour(index: int) -> str:
    """Return the name of the colour of the camera (or lane) with this number."""
    return f'c{index % len(CAMERA_COLOURS)}'


@dataclass(frozen=True, slots=True)
class Box:
    """A filled rectangle.

    Attributes:
        tip: what a reader learns by pointing at it.
        key: camera it belongs to, so that a page can single it out.
    """

    x: float
    y: float
    width: float
    height: float
    colour: str
    opacity: float = 1.0
    radius: float = 0.0
    tip: str = ''
    key: str = ''


@dataclass(frozen=True, slots=True)
class Path:
    """A line through points, or the area within them."""

    points: Sequence[tuple[float, float]]
    colour: str
    width: float = 1.5
    filled: bool = False
    opacity: float = 1.0
    dashed: bool = False
    key: str = ''


@dataclass(frozen=True, slots=True)
class Text:
    """A line of text; ``y`` is its base line, ``anchor`` start, middle or end."""

    x: float
    y: float
    text: str
    size: float = 12.0
    colour: str = 'soft'
    anchor: str = 'start'
    bold: bool = False


Shape = Box | Path | Text


@dataclass(slots=True)
class Drawing:
    """Shapes, first one lowest."""

    width: float
    height: float
    shapes: list[Shape] = field(default_factory=list)

    def add(self, *shapes: Shape) -> None:
        """Put shapes on top."""
        self.shapes += shapes

    def put(self, other: Drawing, x: float, y: float) -> None:
        """Put another drawing on top, moved."""
        self.shapes += (moved(shape, x, y) for shape in other.shapes)


def moved(shape: Shape, dx: float, dy: float) -> Shape:
    """Return a shape somewhere else."""
    if isinstance(shape, Path):
        points = [(x + dx, y + dy) for x, y in shape.points]
        return Path(
            points, shape.colour, shape.width, shape.filled, shape.opacity, shape.dashed, shape.key
        )
    values = {name: getattr(shape, name) for name in shape.__slots__}
    return type(shape)(**{**values, 'x': shape.x + dx, 'y': shape.y + dy})


def text_width(text: str, size: float) -> float:
    """Return about how wide a text is in a common sans-serif font."""
    narrow = sum(text.count(c) for c in "iljtfI.,:;'|() ")
    return size * (0.57 * (len(text) - narrow) + 0.3 * narrow)


def to_svg(drawing: Drawing, *, label: str = '', named_colours: bool = True) -> Markup:
    """Return a drawing as an SVG element; every text and name in it is escaped.

    Args:
        drawing: what is drawn.
        label: what it shows, for those who cannot see it.
        named_colours: whether colours stay CSS variables of the page around it; a file of its own
            needs their values.
    """

    def colour(name: str) -> str:
        if name.startswith('#'):
            return name
        return f'var(--{name})' if named_colours else PALETTE[name]

    width, height = _n(drawing.width), _n(drawing.height)
    head = _HEAD.format(width=width, height=height, label=one_line(label))
    lines = (_element(shape, colour(shape.colour)) for shape in drawing.shapes)
    return _BREAK.join([head, *lines, _TAIL])


_BREAK, _NOTHING = Markup('\n'), Markup('')
_HEAD = Markup(
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
    'role="img" aria-label="{label}" font-family="system-ui, sans-serif">'
)
_TAIL = Markup('</svg>')
_TEXT = Markup('<text x="{}" y="{}" font-size="{}" fill="{}"{}{}>{}</text>')
_BOX = Markup('<rect x="{}" y="{}" width="{}" height="{}" fill="{}"{}/>')
_AREA = Markup('<polygon points="{}" fill="{}"{}/>')
_LINE = Markup(
    '<polyline points="{}" fill="none" stroke="{}" stroke-width="{}" stroke-linejoin="round"{}/>'
)
_ATTRIBUTE = Markup(' {}="{}"')


def _attribute(name: str, value: object) -> Markup:
    """Return an attribute; nothing where the value is nothing."""
    return _ATTRIBUTE.format(name, one_line(value)) if value else _NOTHING


def _element(shape: Shape, colour: str) -> Markup:
    if isinstance(shape, Text):
        anchor = _attribute('text-anchor', '' if shape.anchor == 'start' else shape.anchor)
        weight = _attribute('font-weight', 600 if shape.bold else '')
        text = one_line(shape.text)
        return _TEXT.format(_n(shape.x), _n(shape.y), _n(shape.size), colour, anchor, weight, text)
    more = _attribute('opacity', '' if shape.opacity == 1 else _n(shape.opacity))
    more += _attribute('data-k', shape.key)
    if isinstance(shape, Box):
        more += _attribute('rx', _n(shape.radius) if shape.radius else '')
        more += _attribute('data-t', shape.tip)
        return _BOX.format(
            _n(shape.x), _n(shape.y), _n(shape.width), _n(shape.height), colour, more
        )
    points = ' '.join(f'{_n(x)},{_n(y)}' for x, y in shape.points)
    if shape.filled:
        return _AREA.format(points, colour, more)
    more = _attribute('stroke-dasharray', '4 3' if shape.dashed else '') + more
    return _LINE.format(points, colour, _n(shape.width), more)


def _n(value: float) -> str:
    return f'{value:.2f}'.rstrip('0').rstrip('.')
