"""What is wrong with labelled data: counted by kind, a sentence each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from enum import Enum

from yolox_trt_ros.core.printing import one_line

EXAMPLES = 3
"""Places that a sentence names."""


class Fault(Enum):
    """A kind of fault: what it is of, and what was done about it."""

    LABEL_FILE = 'label file that cannot be read', 'left out with its picture'
    BROKEN_ENTRY = 'entry that is not of the format', 'left out'
    UNLISTED = 'annotation of an image that is not listed', 'left out'
    UNKNOWN_CLASS = 'label of a class that is not listed', 'left out'
    NEGATIVE_BOX = 'box of negative width or height', 'left out'
    NO_BOX = 'label without a box', 'left out'
    REPEATED = 'image that is listed twice', 'its labels are joined'
    NO_LABELS = 'picture without a label file', 'taken as one without objects'
    IGNORE_FLAG = 'annotation with "ignore" and without "iscrowd"', 'asked for, as by COCO'
    NO_SIZE = 'picture whose size is not known', 'left out with its labels'
    NO_PICTURE = 'picture that is not there', 'left out with its labels'
    DAMAGED_PICTURE = 'picture that cannot be read', 'left out with its labels'
    OTHER_SIZE = 'picture of another size than its labels say', 'kept'
    EMPTY_BOX = 'box without area', 'kept'
    OUTSIDE = 'box outside of its picture', 'kept'
    BEYOND = 'box that reaches more than a pixel beyond its picture', 'kept'
    TWICE = 'box that is labelled twice', 'kept'
    UNLABELLED = 'picture of the folder that no label names', 'left out'
    DUPLICATE = 'picture that is in two splits', 'kept'
    ALIKE = 'picture that looks like one of another split', 'kept'
    NOT_WANTED = 'label of a class that the class file leaves out', 'left out'
    NOT_KNOWN = 'label of a class that the model does not know', 'left out'
    LOST_IGNORED = 'object to be ignored, for which the format has no place', 'left out'
    LOST_AREA = 'area of an outline, for which the format has no place', 'left out'
    LOST_DISTANCE = 'distance, for which the format has no place', 'left out'

    def __init__(self, what: str, effect: str) -> None:
        self.what = what
        self.effect = effect


class Faults:
    """Counts faults by kind and remembers the first places.

    Attributes:
        counts: how often each kind was found.
    """

    def __init__(self) -> None:
        self.counts: Counter[Fault] = Counter()
        self._places: dict[Fault, list[str]] = {}

    def add(self, kind: Fault, place: str, count: int = 1) -> None:
        """Count a fault; ``place`` says where, and what is there."""
        self.counts[kind] += count
        places = self._places.setdefault(kind, [])
        if len(places) < EXAMPLES:
            places.append(one_line(place))

    def join(self, other: Faults) -> None:
        """Take in what was found elsewhere."""
        self.counts += other.counts
        for kind, places in other._places.items():
            self._places[kind] = (self._places.get(kind, []) + places)[:EXAMPLES]

    def __bool__(self) -> bool:
        return bool(self.counts)

    def sentences(self, kinds: Iterable[Fault] = Fault) -> list[str]:
        """Return a sentence for each kind that was found."""
        return [self._sentence(kind) for kind in kinds if self.counts[kind]]

    def _sentence(self, kind: Fault) -> str:
        count, places = self.counts[kind], self._places.get(kind, [])
        more = ' …' if count > len(places) else ''
        where = f': {"; ".join(places)}{more}' if places else ''
        return f'{count:,} × {kind.what} ({kind.effect}){where}'

    def to_json(self) -> dict[str, int]:
        """Return the counts by what they are of."""
        return {kind.what: self.counts[kind] for kind in Fault if self.counts[kind]}
