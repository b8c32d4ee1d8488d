"""YOLOX's label assignment by pixeltable-yolox (Apache-2.0), on every processor core at once.

The library assigns picture by picture, with shapes that depend on the data: hundreds of waits for
the GPU a batch. On the CPU that takes about a millisecond a picture, and no picture needs another.
"""

from __future__ import annotations

import multiprocessing
import os
import selectors
import signal
import warnings

import torch
from torch import Tensor
from yolox.models.yolo_head import YoloxHead

from yolox_trt_ros.training.learning.assign import centred
from yolox_trt_ros.training.networks.maps import anchors


class Assigner:
    """The library's SimOTA for one picture, on the CPU, in FP32.

    Args:
        size: (height, width) of the network's input.
        classes: how many.
    """

    def __init__(self, size: tuple[int, int], classes: int) -> None:
        # Layers of one channel that are never run: only the assignment is asked for.
        self._library = YoloxHead(classes, width=1 / 256, in_channels=[256, 256, 256])
        cell, self._stride = anchors(size)
        self._x, self._y = cell[None, :, 0], cell[None, :, 1]

    def __call__(self, predicted: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the label that each anchor learns, int64 (−1: none), and its overlap with it.

        Args:
            predicted: (anchors, 5 + classes), boxes decoded to input pixels, logits.
            labels: (n, 6): class (−1: none), left, top, right, bottom, ignored.
        """
        label_of = torch.full((len(predicted),), -1)
        overlap = torch.zeros(len(predicted))
        wanted = ((labels[:, 0] >= 0) & (labels[:, 5] == 0)).nonzero()[:, 0]
        if len(wanted):
            asked = labels[wanted]
            _, positive, shared, index, _ = self._library.get_assignments(
                0,
                len(asked),
                centred(asked[:, 1:5]),
                asked[:, 0],
                predicted[:, :4],
                self._stride[None],
                self._x,
                self._y,
                predicted[None, :, 5:],
                predicted[None, :, 4:5],
            )
            label_of[positive], overlap[positive] = wanted[index], shared
        return label_of, overlap


class AssignmentPool:
    """Processes that assign labels; make it before CUDA is first used, since it forks.

    Args:
        batch: pictures, at most 256.
        slots: label rows of a picture.
        size, classes: as of :class:`Assigner`.
        workers: how many processes.
        pinned: lock the shared memory's pages, so that a GPU copies while the CPU goes on.

    Attributes:
        predicted, labels: what to assign, (batch, anchors, 5 + classes) and (batch, slots, 6).
        label_of, overlap: the results, (batch, anchors) each.
        processes: that work.
    """

    def __init__(
        self,
        batch: int,
        slots: int,
        size: tuple[int, int],
        classes: int,
        workers: int,
        pinned: bool = False,
    ) -> None:
        if not 1 <= batch <= 256:
            raise ValueError(f'batch: expected 1 to 256 pictures, got {batch}')
        assigner = Assigner(size, classes)
        count = len(anchors(size)[1])
        self.predicted = torch.zeros(batch, count, 5 + classes).share_memory_()
        self.labels = torch.full((batch, slots, 6), -1.0).share_memory_()
        self.label_of = torch.full((batch, count), -1).share_memory_()
        self.overlap = torch.zeros(batch, count).share_memory_()
        # A pipe hands each picture's number, one byte, to whoever is free.
        todo, self._todo = os.pipe()
        self._done, done = os.pipe()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._done, selectors.EVENT_READ)
        context = multiprocessing.get_context('fork')
        self.processes = [
            context.Process(target=self._serve, args=(assigner, todo, done), daemon=True)
            for _ in range(workers)
        ]
        for process in self.processes:
            process.start()
            self._selector.register(process.sentinel, selectors.EVENT_READ, process)
        os.close(todo)
        os.close(done)
        self._pinned = [self.predicted, self.labels, self.label_of, self.overlap] * pinned
        for array in self._pinned:
            runtime = torch.cuda.cudart()
            torch.cuda.check_error(runtime.cudaHostRegister(array.data_ptr(), array.nbytes, 0))

    def _serve(self, assigner: Assigner, todo: int, done: int) -> None:
        """Assign until nobody can ask any more: in a process of its own."""
        os.close(self._todo)
        os.close(self._done)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the training to answer
        torch.set_num_threads(1)
        warnings.filterwarnings('ignore', category=FutureWarning)  # the library's old autocast
        while number := os.read(todo, 1):
            k = number[0]
            self.label_of[k], self.overlap[k] = assigner(self.predicted[k], self.labels[k])
            os.write(done, number)

    def assign(self, start: int, stop: int) -> None:
        """Assign the labels of the pictures from start to stop, and wait until that is done.

        Raises:
            RuntimeError: a process has ended.
        """
        os.write(self._todo, bytes(range(start, stop)))
        missing = stop - start
        while missing:
            for key, _ in self._selector.select():
                if key.data is not None:
                    key.data.join()
                    raise RuntimeError(
                        f'expected {len(self.processes)} processes that assign labels; one ended '
                        f'with code {key.data.exitcode}. Its error is above this one; without '
                        'one the system has ended it (out of memory?): begin again.'
                    )
                missing -= len(os.read(self._done, missing))

    def close(self) -> None:
        """End the processes."""
        os.close(self._todo)
        for process in self.processes:
            process.join()
        self._selector.close()
        os.close(self._done)
        for array in self._pinned:
            torch.cuda.check_error(torch.cuda.cudart().cudaHostUnregister(array.data_ptr()))

    def __enter__(self) -> AssignmentPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
