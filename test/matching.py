"""Compare detections with reference detections, one to one."""

from collections.abc import Sequence

Row = Sequence[float]  # x1, y1, x2, y2, score, class


def iou(a: Row, b: Row) -> float:
    """Return the overlap of two boxes."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    overlap = max(width, 0) * max(height, 0)
    union = sum((r[2] - r[0]) * (r[3] - r[1]) for r in (a, b)) - overlap
    return overlap / union


def differences(
    found: Sequence[Row], expected: Sequence[Row], min_iou: float = 0.99, max_score: float = 0.005
) -> list[str]:
    """Return what is missing and what is extra, one sentence each; empty if all match."""
    left = list(found)
    problems = []
    for row in expected:
        pairs = [
            f
            for f in left
            if f[5] == row[5] and abs(f[4] - row[4]) <= max_score and iou(f, row) >= min_iou
        ]
        if pairs:
            left.remove(max(pairs, key=lambda f, row=row: iou(f, row)))  # type: ignore[misc]
        else:
            problems.append(f'missing: {row}')
    return problems + [f'extra: {row}' for row in left]
