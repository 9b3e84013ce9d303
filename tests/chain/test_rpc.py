"""The JSON-RPC client: matching, splitting, and what counts as the node's fault."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import orjson
import pytest
from httpx_aiohttp import HttpxAiohttpClient

from chain.recipients import Recipients
from chain.rpc import MAX_BATCH_BYTES, MAX_BATCH_CALLS, Call, JsonRpc, NodeUnavailableError, RpcError
from tests.real_chain import RealChain, fresh_address

_Answer = Callable[[Any], httpx.Response]


def client_of(
    answer: _Answer, *, max_batch_calls: int = MAX_BATCH_CALLS, max_batch_bytes: int = MAX_BATCH_BYTES
) -> JsonRpc:
    """A client whose node answers each decoded request body with a function."""
    transport = httpx.MockTransport(lambda request: answer(orjson.loads(request.content)))
    return JsonRpc(httpx.AsyncClient(transport=transport), "http://node", max_batch_calls, max_batch_bytes)


def echo(body: list[dict[str, Any]]) -> httpx.Response:
    """Answers each call of a batch with its first parameter, in the wrong order."""
    answers = [{"jsonrpc": "2.0", "id": call["id"], "result": call["params"][0]} for call in body]
    return httpx.Response(200, json=answers[::-1])


async def test_batch_answers_are_matched_by_id() -> None:
    """Answers in another order come back in the order of the calls."""
    calls = [Call("echo", (n,)) for n in range(7)]
    assert await client_of(echo).batch(calls) == list(range(7))


@pytest.mark.parametrize(
    ("limits", "sizes"), [({"max_batch_calls": 3}, [3, 3, 1]), ({"max_batch_bytes": 130}, [2] * 3 + [1])]
)
async def test_batches_are_split_by_count_and_bytes(limits: dict[str, int], sizes: list[int]) -> None:
    """No request holds more calls or more bytes than allowed, and the results are complete."""
    seen: list[int] = []

    def answer(body: list[dict[str, Any]]) -> httpx.Response:
        seen.append(len(body))
        return echo(body)

    assert await client_of(answer, **limits).batch([Call("echo", (n,)) for n in range(7)]) == list(range(7))
    assert seen == sizes


async def test_a_call_bigger_than_the_limit_goes_alone() -> None:
    """One call above the byte limit is sent by itself rather than never."""
    assert await client_of(echo, max_batch_bytes=10).batch([Call("echo", ("x" * 50,))] * 2) == ["x" * 50] * 2


async def test_errors_stay_with_their_call() -> None:
    """An error object in a batch is the result of that call alone; a single call raises it."""

    def answer(body: Any) -> httpx.Response:
        error = {"code": -32000, "message": "no", "data": "0x"}
        if isinstance(body, dict):
            return httpx.Response(200, json={"id": 0, "error": error})
        return httpx.Response(200, json=[{"id": 0, "result": 1}, {"id": 1, "error": error}])

    good, bad = await client_of(answer).batch([Call("a"), Call("b")])
    assert good == 1
    assert isinstance(bad, RpcError)
    assert (bad.code, bad.message, bad.data) == (-32000, "no", "0x")
    with pytest.raises(RpcError, match="no"):
        await client_of(answer).call("a")


def _raise(fault: Exception) -> _Answer:
    def answer(_: Any) -> httpx.Response:
        raise fault

    return answer


@pytest.mark.parametrize(
    "answer",
    [
        _raise(httpx.ConnectError("refused")),
        _raise(httpx.ReadTimeout("slow")),
        _raise(httpx.RemoteProtocolError("cut")),
        lambda _: httpx.Response(502, text="Bad Gateway"),
        lambda _: httpx.Response(429, json={"id": 0, "result": 1}),
        lambda _: httpx.Response(200, text="<html>"),
        lambda _: httpx.Response(200, json="hello"),
        lambda _: httpx.Response(200, json={"id": 0}),
        lambda _: httpx.Response(200, json={"id": 0, "error": "text"}),
        lambda _: httpx.Response(200, json=[]),
    ],
)
async def test_every_unusable_answer_is_infrastructure(answer: _Answer) -> None:
    """Faults of connection, HTTP and form raise the one exception that proves nothing about the request."""
    rpc = client_of(answer)
    requests: list[Callable[[], Awaitable[object]]] = [lambda: rpc.call("a"), lambda: rpc.batch([Call("a")])]
    for request in requests:
        with pytest.raises(NodeUnavailableError):
            await request()


_PARTIAL = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n[{"


@pytest.mark.parametrize("answer", [None, b"", b"nonsense\r\n\r\n", _PARTIAL])
async def test_faults_of_the_wire_are_infrastructure(answer: bytes | None) -> None:
    """A refused connection, one that is closed, and answers cut off or garbled raise it with the real client too."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer or b"")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        if answer is None:
            server.close()
        async with HttpxAiohttpClient(timeout=5) as http:
            with pytest.raises(NodeUnavailableError):
                await JsonRpc(http, f"http://127.0.0.1:{port}").call("eth_chainId")


async def test_a_silent_node_is_infrastructure() -> None:
    """A node that accepts a request and never answers runs into the client's timeout."""
    answered = asyncio.Event()

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answered.wait()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with HttpxAiohttpClient(timeout=0.2) as http:
            with pytest.raises(NodeUnavailableError, match="Timeout"):
                await JsonRpc(http, f"http://127.0.0.1:{port}").call("eth_chainId")
        answered.set()


async def test_recipients_with_code_are_found_and_remembered(real_chain: RealChain) -> None:
    """Contracts are told from plain accounts, and each address is asked for once while the cache has room."""
    contract = await real_chain.deploy("test/AcceptingReceiver")
    plain = [fresh_address() for _ in range(150)]
    recipients = Recipients(real_chain.rpc, cached_addresses=151)
    assert await recipients.with_code([*plain, contract, contract]) == {contract}
    await real_chain.rpc.call("anvil_setCode", "0x" + plain[0].hex(), "0x6001")
    assert await recipients.with_code([plain[0], contract]) == {contract}
    await recipients.with_code([fresh_address() for _ in range(150)])
    assert await recipients.with_code([plain[0]]) == {plain[0]}


async def test_a_known_recipient_may_be_forgotten_during_the_wait() -> None:
    """What one slice knew when it asked still counts when another has filled the small cache meanwhile."""
    asked, answered = asyncio.Event(), asyncio.Event()

    async def answer(request: httpx.Request) -> httpx.Response:
        calls = orjson.loads(request.content)
        if calls[0]["params"][0] == "0x" + new.hex():
            asked.set()
            await answered.wait()
        return httpx.Response(200, json=[{"id": call["id"], "result": "0x6001"} for call in calls])

    known, new, *others = (fresh_address() for _ in range(4))
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        recipients = Recipients(JsonRpc(http, "http://node"), cached_addresses=2)
        await recipients.with_code([known])
        waiting = asyncio.create_task(recipients.with_code([known, new]))
        await asked.wait()
        await recipients.with_code(others)
        answered.set()
        assert await waiting == {known, new}
