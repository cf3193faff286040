"""Bounds what clients may hold while the messages of their gRPC calls are on their way.

Contract: Python's gRPC reads the message of a call once the call's thread waits for it. Here a
bounded number of calls wait at a time, so that their messages take a bounded memory; one connection
has half of these places at most; and a call whose message has not come in time is cancelled. gRPC's
own bound, ``grpc.max_concurrent_streams``, does not serve: beyond it the server resets calls, and
a good client with many calls on one channel sees UNAVAILABLE.
"""

import contextlib
import functools
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from serving.model_server.running import Running


class Places:
    """Calls that receive at the same time."""

    def __init__(self, most: int, most_waiting: int):
        """``most`` calls receive; of one connection, half of them, and ``most_waiting`` wait."""
        self._most, self._most_of_one = most, max(most // 2, 1)
        self._most_waiting = most_waiting
        self._receiving: Counter[str] = Counter()  # by connection
        self._waiting: Counter[str] = Counter()
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def place(self, connection: str, seconds: float) -> Iterator[bool]:
        """Waits for a place; False if there is none within ``seconds``, or too many wait."""
        with self._changed:
            has_one = self._is_free(connection) or self._wait(connection, seconds)
            if has_one:
                self._receiving[connection] += 1
        try:
            yield has_one
        finally:
            if has_one:
                with self._changed:
                    _less(self._receiving, connection)
                    self._changed.notify_all()

    def _is_free(self, connection: str) -> bool:
        own = self._receiving.get(connection, 0)
        return own < self._most_of_one and self._receiving.total() < self._most

    def _wait(self, connection: str, seconds: float) -> bool:
        if self._waiting.get(connection, 0) >= self._most_waiting:
            return False
        self._waiting[connection] += 1
        try:
            return self._changed.wait_for(lambda: self._is_free(connection), seconds)
        finally:
            _less(self._waiting, connection)


def _less(counts: Counter[str], key: str) -> None:
    counts[key] -= 1
    if not counts[key]:
        del counts[key]


class Receiving(grpc.ServerInterceptor):
    """Waits for the message of every call with one message and one answer, of all services."""

    def __init__(self, seconds: float, places: Places, places_of_probes: Places, threads: int):
        """Calls without a pool of their own, the predictions, run on ``threads`` at a time.

        Args:
            seconds: That a message may take.
            places: Of the predictions.
            places_of_probes: Of all other calls.
            threads: As above.
        """
        self._seconds, self._running = seconds, Running()
        self._places, self._places_of_probes = places, places_of_probes
        self._threads = threading.Semaphore(threads)
        self._made: dict[str, grpc.RpcMethodHandler] = {}  # by method

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler | None:
        """The handler of a call; None if there is no such method."""
        handler = continuation(handler_call_details)
        # The one call that answers with a stream, Watch of the health service, takes no thread.
        if handler is None or handler.request_streaming or handler.response_streaming:
            return handler
        method = handler_call_details.method
        if method not in self._made:
            self._made[method] = self._bounded(handler)
        return self._made[method]

    def _bounded(self, handler: Any) -> grpc.RpcMethodHandler:
        """The same handler, which takes its one message from a stream: so it waits itself."""
        answer = handler.unary_unary
        pool = getattr(answer, "experimental_thread_pool", None)
        places = self._places_of_probes if pool else self._places
        is_counted = pool is None

        @functools.wraps(answer)
        def call(messages: Iterator[Any], context: grpc.ServicerContext) -> Any:
            with places.place(context.peer(), self._seconds) as has_place:
                if not has_place:
                    words = "Too many calls wait for their messages; try again later."
                    context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, words)
                message = self._receive(messages, context)
                # The place is kept meanwhile: else messages without a bound would wait here.
                if is_counted:
                    self._threads.acquire()
            try:
                return answer(message, context)
            finally:
                if is_counted:
                    self._threads.release()

        # gRPC's own name; what a handler has none for runs in the server's threads.
        vars(call)["experimental_thread_pool"] = pool
        return grpc.stream_unary_rpc_method_handler(
            call, handler.request_deserializer, handler.response_serializer
        )

    def _receive(self, messages: Iterator[Any], context: grpc.ServicerContext) -> Any:
        with self._running.work(self._seconds) as work:
            work.on_end(context.cancel)
            message = next(messages, None)
        if message is None:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "The call has no message.")
        return message
