"""Runs requests that arrive together as one batch: TensorFlow Serving's dynamic batching.

Contract: requests with the same model version, signature, outputs and shapes (but for the first
dimension) share a batch. A batch is run when it is full or has waited ``batch_timeout_micros``, as
soon as one of ``num_batch_threads`` is free. At most ``max_enqueued_batches`` wait for each such
kind; further requests are UNAVAILABLE. If a batch fails, each of its requests is run again alone,
so that only the faulty one fails (upstream fails them all). A batch is ended once the work of each
of its requests is.
"""

import dataclasses
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import CancelledError, Future

import grpc
import numpy as np

from serving.model_server.config import BatchingParameters
from serving.model_server.errors import StatusError, invalid, unavailable
from serving.model_server.metrics import Metrics
from serving.model_server.running import Work

Arrays = Mapping[str, np.ndarray]


@dataclasses.dataclass(eq=False)
class _Task:
    inputs: Arrays
    size: int
    begun: float = dataclasses.field(default_factory=time.monotonic)
    # Never set to running, so that who waits for it can cancel it at any time.
    result: Future[Arrays] = dataclasses.field(default_factory=Future)


@dataclasses.dataclass(eq=False)
class _Batch:
    function: Callable[[Arrays], Arrays]
    ready_time: float  # of time.monotonic()
    tasks: list[_Task] = dataclasses.field(default_factory=list)
    size: int = 0
    is_full: bool = False


class BatchScheduler:
    """Collects requests of all models; its threads run them."""

    def __init__(self, parameters: BatchingParameters, metrics: Metrics | None = None):
        self._parameters, self._metrics = parameters, metrics or Metrics()
        self._queues: dict[Hashable, deque[_Batch]] = {}
        self._changed = threading.Condition()
        self._running: dict[Work, list[_Task]] = {}  # what is run at the moment
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, daemon=True, name=f"batch-{i}")
            for i in range(parameters.num_batch_threads)
        ]
        for thread in self._threads:
            thread.start()

    def run(
        self,
        key: Hashable,
        function: Callable[[Arrays], Arrays],
        inputs: Arrays,
        work: Work,
    ) -> dict[str, np.ndarray]:
        """Runs ``function`` on the inputs, along with those of others.

        Args:
            key: What may share a batch: equal keys come with equal functions.
            function: Arrays by name to arrays by name, row by row along the first axis.
            inputs: Arrays of one first dimension n >= 1.
            work: Ends the wait, and the batch if nobody else waits for it.

        Returns:
            The function's outputs for these rows alone.

        Raises:
            StatusError: UNAVAILABLE if too much is waiting, the error that ended ``work``,
                INVALID_ARGUMENT if n is above the largest batch and splitting is off, and what
                ``function`` raises.
        """
        size = len(next(iter(inputs.values())))
        largest = self._parameters.max_batch_size
        if size > largest and not self._parameters.enable_large_batch_splitting:
            raise invalid(f"Task size {size} is larger than maximum input batch size {largest}")
        self._metrics.batched([size] * len(inputs))
        step = self._parameters.largest_execution
        tasks = [
            _Task(
                {name: array[i : i + step] for name, array in inputs.items()}, min(step, size - i)
            )
            for i in range(0, size, step)
        ]
        self._enqueue(key, function, tasks)
        work.on_end(lambda: self._abandon(tasks))
        try:
            parts = [task.result.result() for task in tasks]
        except CancelledError:
            raise work.error or unavailable("The batch was given up.") from None
        if len(parts) == 1:
            return dict(parts[0])
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def close(self) -> None:
        """Ends the threads; what still waits is UNAVAILABLE."""
        with self._changed:
            self._closed = True
            waiting = [task for q in self._queues.values() for batch in q for task in batch.tasks]
            self._queues.clear()
            self._changed.notify_all()
        for task in waiting:
            _finish(task, unavailable("The server is stopping."))
        for thread in self._threads:
            thread.join()

    def _enqueue(
        self, key: Hashable, function: Callable[[Arrays], Arrays], tasks: list[_Task]
    ) -> None:
        """All of them or none."""
        limit = self._parameters.largest_execution
        timeout = self._parameters.batch_timeout_micros / 1e6
        with self._changed:
            if self._closed:
                raise unavailable("The server is stopping.")
            queue = self._queues.get(key, deque())
            last = queue[-1] if queue else None
            room = limit - last.size if last and not last.is_full else 0
            added = 0
            for task in tasks:
                if task.size > room:
                    added, room = added + 1, limit
                room -= task.size
            # A request of more batches than may wait is accepted if nothing else waits.
            if queue and len(queue) + added > self._parameters.max_enqueued_batches:
                raise unavailable(
                    "The batch scheduling queue to which this task was submitted is full"
                )
            for task in tasks:
                if last is None or last.is_full or last.size + task.size > limit:
                    if last is not None:
                        last.is_full = True
                    last = _Batch(function, time.monotonic() + timeout)
                    queue.append(last)
                last.tasks.append(task)
                last.size += task.size
                last.is_full = last.size >= limit
            self._queues[key] = queue
            self._changed.notify()

    def _work(self) -> None:
        while (batch := self._next()) is not None:
            self._run(batch)

    def _next(self) -> _Batch | None:
        """Waits for a batch that may be run; None once the scheduler is closed."""
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                first = None  # key of the queue whose first batch has waited longest
                for key, queue in self._queues.items():
                    if first is None or queue[0].ready_time < self._queues[first][0].ready_time:
                        first = key
                    if queue[0].is_full:
                        first = key
                        break
                if first is None:
                    self._changed.wait()
                    continue
                queue = self._queues[first]
                wait = queue[0].ready_time - now
                if wait > 0 and not queue[0].is_full:
                    self._changed.wait(wait)
                    continue
                batch = queue.popleft()
                if not queue:
                    del self._queues[first]
                return batch
            return None

    def _abandon(self, tasks: list[_Task]) -> None:
        """Nobody waits for these any longer; ends what now runs for nobody."""
        with self._changed:
            for task in tasks:
                task.result.cancel()
            idle = [
                work
                for work, ran in self._running.items()
                if all(task.result.cancelled() for task in ran)
            ]
        for work in idle:
            work.end(unavailable("Nobody waits for this batch any longer."))

    def _run(self, batch: _Batch) -> None:
        tasks = batch.tasks
        try:
            self._run_together(batch.function, tasks)
        except Exception as error:  # noqa: BLE001 - raised where the task waits
            if len(tasks) == 1:
                _finish(tasks[0], error)
                return
            for task in tasks:  # each task gets its own
                self._run(dataclasses.replace(batch, tasks=[task]))

    def _run_together(self, function: Callable[[Arrays], Arrays], tasks: list[_Task]) -> None:
        work = Work()
        with self._changed:
            tasks = [task for task in tasks if not task.result.cancelled()]
            self._running[work] = tasks
        try:
            if tasks:
                with work.in_tensorflow():
                    results = self._call(function, tasks)
                for task, result in zip(tasks, results, strict=True):
                    _finish(task, result)
        finally:
            with self._changed:
                del self._running[work]

    def _call(self, function: Callable[[Arrays], Arrays], tasks: list[_Task]) -> list[Arrays]:
        size = sum(task.size for task in tasks)
        padding = self._parameters.padded(size) - size
        inputs = {}
        for name, first in tasks[0].inputs.items():
            arrays = [task.inputs[name] for task in tasks]
            if padding:
                arrays.append(np.repeat(first[:1], padding, axis=0))
            inputs[name] = np.concatenate(arrays) if len(arrays) > 1 else first
        now = time.monotonic()
        self._metrics.batch([now - task.begun for task in tasks], size + padding, padding)
        outputs = function(inputs)
        for array in outputs.values():
            if not array.ndim or len(array) != size + padding:
                raise StatusError(
                    grpc.StatusCode.FAILED_PRECONDITION,
                    "Batched output tensor's 0th dimension does not equal the sum of the 0th "
                    "dimension sizes of the input tensors",
                )
        ends = np.cumsum([task.size for task in tasks])
        return [
            {name: array[end - task.size : end] for name, array in outputs.items()}
            for task, end in zip(tasks, ends, strict=True)
        ]


def _finish(task: _Task, result: Arrays | Exception) -> None:
    """Gives a task its result, if somebody still waits for it."""
    if task.result.set_running_or_notify_cancel():
        if isinstance(result, Exception):
            task.result.set_exception(result)
        else:
            task.result.set_result(result)
