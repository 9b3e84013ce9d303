"""JSON-RPC 2.0 over HTTP: single calls and batches, answers matched by id, one exception class for infrastructure.

NodeUnavailableError: infrastructure, try again later. RpcError: the node's own answer, an error object.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NamedTuple

import aiohttp
import httpx
import orjson
from opentelemetry.trace import NoOpTracer, SpanKind, Tracer

from workflows.interface.errors import InfrastructureError

MAX_BATCH_CALLS = 100
"""Besu and hosted nodes refuse bigger batches (-32005)."""
MAX_BATCH_BYTES = 2_000_000
"""Below the body limits of geth (5 MiB) and of common proxies."""
_EXCERPT_CHARACTERS = 200
# The aiohttp transport under httpx lets a garbled answer through as aiohttp's own error.
_CONNECTION_FAULTS = (httpx.HTTPError, aiohttp.ClientError, OSError)


class Call(NamedTuple):
    """One method with its parameters."""

    method: str
    params: tuple[object, ...] = ()


class RpcError(Exception):
    """The node answered with an error object; what it means depends on the method."""

    def __init__(self, code: int, message: str, data: object = None) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code
        self.message = message
        self.data = data


class NodeUnavailableError(InfrastructureError):
    """No usable answer: refused, lost, timed out, an HTTP error, or not JSON-RPC. Nothing follows about the request."""


@dataclass(slots=True)
class CallTally:
    """The calls of one piece of work."""

    sent: int = 0


class CallMeter:
    """Counts the calls that are sent, answered or not: all of them, and those of each piece of work that is tallied."""

    def __init__(self) -> None:
        self.sent = 0
        self._tally: ContextVar[CallTally | None] = ContextVar("tally", default=None)

    def count(self, calls: int) -> None:
        """Notes calls that are about to be sent; a batch of n counts n."""
        self.sent += calls
        tally = self._tally.get()
        if tally is not None:
            tally.sent += calls

    @contextmanager
    def tallied(self) -> Iterator[CallTally]:
        """Counts the calls of the block and of the tasks it starts, apart from what runs beside it."""
        tally = CallTally()
        token = self._tally.set(tally)
        try:
            yield tally
        finally:
            self._tally.reset(token)


Reply = Any
"""A decoded result as JSON gives it."""


class JsonRpc:
    """A node's JSON-RPC endpoint over an HTTP client that the caller owns."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        url: str,
        max_batch_calls: int = MAX_BATCH_CALLS,
        max_batch_bytes: int = MAX_BATCH_BYTES,
        tracer: Tracer | None = None,
    ) -> None:
        self._http = http
        self._url = url
        self._max_batch_calls = max_batch_calls
        self._max_batch_bytes = max_batch_bytes
        self.meter = CallMeter()
        self._tracer = tracer or NoOpTracer()

    async def call(self, method: str, *params: object) -> Reply:
        """One call's result.

        Raises:
            RpcError: the node answered with an error.
            NodeUnavailableError: see the class.
        """
        self.meter.count(1)
        answer = await self._post(_encoded(Call(method, params), 0), method, 1)
        if not isinstance(answer, dict):
            raise NodeUnavailableError(f"{method}: the answer isn't an object")
        result = _result_of(answer)
        if isinstance(result, RpcError):
            raise result
        return result

    async def batch(self, calls: Sequence[Call], max_calls: int | None = None) -> list[Reply | RpcError]:
        """The results of all calls, in their order; split as the limits demand, the parts one after the other.

        `max_calls` lowers the limit where each answer is big.

        Raises:
            NodeUnavailableError: some part got no usable answer (the earlier parts may have taken effect).
        """
        results: list[Reply | RpcError] = []
        for part in self.split(calls, max_calls):
            results += await self.send_part(part)
        return results

    def split(self, calls: Sequence[Call], max_calls: int | None = None) -> Iterator[list[bytes]]:
        """The calls, encoded, in parts that fit one HTTP request each."""
        limit = min(max_calls or self._max_batch_calls, self._max_batch_calls)
        part: list[bytes] = []
        size = 0
        for call in calls:
            text = _encoded(call, len(part))
            if part and (len(part) == limit or size + len(text) > self._max_batch_bytes):
                yield part
                part, size, text = [], 0, _encoded(call, 0)
            part.append(text)
            size += len(text)
        if part:
            yield part

    async def send_part(self, part: Sequence[bytes]) -> list[Reply | RpcError]:
        """Sends one part made by `split`; results in its order.

        Raises:
            NodeUnavailableError: no usable answer, or one that leaves out a call.
        """
        self.meter.count(len(part))
        answers = await self._post(b"[" + b",".join(part) + b"]", "batch", len(part))
        if not isinstance(answers, list):
            raise NodeUnavailableError(
                f"a batch of {len(part)} calls was refused: {str(answers)[:_EXCERPT_CHARACTERS]}"
            )
        by_id = {answer.get("id"): answer for answer in answers if isinstance(answer, dict)}
        if any(n not in by_id for n in range(len(part))):
            raise NodeUnavailableError(f"{len(answers)} answers to a batch of {len(part)} calls")
        return [_result_of(by_id[n]) for n in range(len(part))]

    async def _post(self, body: bytes, method: str, calls: int) -> Reply:
        with self._tracer.start_as_current_span(f"rpc {method}", kind=SpanKind.CLIENT) as span:
            span.set_attributes({"rpc.system.name": "jsonrpc", "rpc.method": method, "transfers.rpc.calls": calls})
            return await self._exchange(body)

    async def _exchange(self, body: bytes) -> Reply:
        try:
            response = await self._http.post(self._url, content=body, headers={"content-type": "application/json"})
        except _CONNECTION_FAULTS as fault:
            raise NodeUnavailableError(f"{type(fault).__name__}: {fault}") from fault
        if response.status_code != httpx.codes.OK:
            raise NodeUnavailableError(f"HTTP {response.status_code}: {response.text[:_EXCERPT_CHARACTERS]}")
        try:
            return orjson.loads(response.content)
        except orjson.JSONDecodeError as fault:
            raise NodeUnavailableError(f"not JSON: {response.text[:_EXCERPT_CHARACTERS]}") from fault


def _encoded(call: Call, call_id: int) -> bytes:
    return orjson.dumps({"jsonrpc": "2.0", "id": call_id, "method": call.method, "params": call.params})


def _result_of(answer: dict[str, Any]) -> Reply | RpcError:
    error = answer.get("error")
    if error is None and "result" in answer:
        return answer["result"]
    if not isinstance(error, dict):
        raise NodeUnavailableError(f"not JSON-RPC: {str(answer)[:_EXCERPT_CHARACTERS]}")
    code, message = error.get("code"), error.get("message")
    return RpcError(code if isinstance(code, int) else 0, str(message), error.get("data"))
