"""Boxes that move on at constant velocity: one Kalman filter for each, all of them at once.

State and noise are those of ByteTrack in Roboflow's ``trackers`` (Apache-2.0): the four edges of a
box and their velocities, edges apart from each other. All of a box's edges are measured together
and with the same noise, so they share one covariance of three numbers; the matrices of the usual
formulation are never made. Time is in nominal images.
"""

from __future__ import annotations

import numpy as np

MEASUREMENT_VARIANCE = 0.1
PROCESS_VARIANCE = 0.01
"""Of an edge and of its velocity, for one nominal image."""
NOMINAL_S = 0.004
"""An interval this close to the nominal one is taken for it: clocks and triggers are no better."""


class MovingBoxes:
    """The filters of any number of boxes.

    Attributes:
        xyxy: float64 (n, 4), edges in pixels.
        velocity: float64 (n, 4), pixels per nominal image.
        covariance: float64 (n, 3), of an edge, of edge and velocity, of the velocity.
    """

    def __init__(self) -> None:
        self.xyxy = np.empty((0, 4))
        self.velocity = np.empty((0, 4))
        self.covariance = np.empty((0, 3))

    def predict(self, step: float, tolerance: float) -> None:
        """Move every box on.

        Args:
            step: time since the last prediction, in nominal images.
            tolerance: distance from 1 up to which the step counts as a nominal one.
        """
        self.xyxy += step * self.velocity
        edge, both, speed = self.covariance.T
        edge += step * (2 * both + step * speed)
        both += step * speed
        if abs(step - 1) <= tolerance:
            edge += PROCESS_VARIANCE
            speed += PROCESS_VARIANCE
        else:  # white noise of the acceleration over the gap
            edge += PROCESS_VARIANCE * step**4 / 4
            both += PROCESS_VARIANCE * step**3 / 2
            speed += PROCESS_VARIANCE * step**2

    def update(self, rows: np.ndarray, xyxy: np.ndarray) -> None:
        """Correct some boxes by what was measured.

        Args:
            rows: int (m,), which ones.
            xyxy: float (m, 4), the measured edges.
        """
        edge, both, speed = self.covariance[rows].T
        of_edge = edge / (edge + MEASUREMENT_VARIANCE)
        of_speed = both / (edge + MEASUREMENT_VARIANCE)
        error = xyxy - self.xyxy[rows]
        self.xyxy[rows] += of_edge[:, None] * error
        self.velocity[rows] += of_speed[:, None] * error
        kept = 1 - of_edge
        self.covariance[rows] = np.stack(
            [kept * edge, kept * both, speed - of_speed * both], axis=1
        )

    def append(self, xyxy: np.ndarray) -> None:
        """Add boxes that stand still, float (m, 4)."""
        n = len(xyxy)
        self.xyxy = np.concatenate([self.xyxy, xyxy])
        self.velocity = np.concatenate([self.velocity, np.zeros((n, 4))])
        self.covariance = np.concatenate([self.covariance, np.tile([1.0, 0.0, 1.0], (n, 1))])

    def keep(self, mask: np.ndarray) -> None:
        """Leave out the boxes where a mask, bool (n,), is false."""
        self.xyxy = self.xyxy[mask]
        self.velocity = self.velocity[mask]
        self.covariance = self.covariance[mask]
