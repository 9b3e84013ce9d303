"""The chain's state as sending needs it: head, chain id, accounts; and whether it fits what the ledger remembers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from chain.abi import IS_OPERATOR, address_word, call_object
from chain.quantities import to_bytes, to_hex, to_int
from chain.rpc import Call, JsonRpc, Reply, RpcError
from workflows.interface.chain import Lane


class Head(NamedTuple):
    """The latest block."""

    number: int
    block_hash: bytes
    base_fee_wei: int


class Account(NamedTuple):
    """A lane's account: how many nonces are mined, how many are mined or pending, and its balance."""

    latest_nonce: int
    pending_nonce: int
    balance_wei: int


class ChainBehindLedgerError(Exception):
    """The chain knows less than the ledger has seen settled: restored from an old state, or a wrong URL."""

    def __init__(self, lane: Lane, chain_nonce: int, settled_nonces: int) -> None:
        super().__init__(
            f"the chain is behind the ledger: lane {lane.address} has {chain_nonce} transactions on chain "
            f"{lane.chain_id}, but {settled_nonces} are settled in Postgres. Is CHAIN_RPC_URL the right node? A "
            "development chain that lost its state can't be mended: `make clean` starts chain and database afresh"
        )
        self.lane, self.chain_nonce, self.settled_nonces = lane, chain_nonce, settled_nonces


class ForeignNonceError(Exception):
    """The chain has more of a lane than the ledger knows: another user of its key, or a database set back."""

    def __init__(self, lane: Lane, chain_nonce: int, allocated_nonces: int) -> None:
        super().__init__(
            f"lane {lane.address} has {chain_nonce} transactions on chain {lane.chain_id} or pending there, but "
            f"Postgres knows only {allocated_nonces}. Either its key is used elsewhere: give this service a key of its "
            'own. Or the database was restored from a backup: go through "Restore from a backup" in docs/operations.md'
        )
        self.lane, self.chain_nonce, self.allocated_nonces = lane, chain_nonce, allocated_nonces


class NotOperatorError(Exception):
    """Contracts don't know addresses as operators, so every transfer through them would revert; a line for each."""

    def __init__(self, missing: Sequence[tuple[bytes, bytes]]) -> None:
        super().__init__(
            "\n".join(
                f"{to_hex(operator)} isn't an operator of {to_hex(contract)}: its admin must call setOperator, unless "
                "TICKETS_ADDRESS or ROUTER_ADDRESS is wrong"
                for contract, operator in missing
            )
        )
        self.missing = missing


async def read_chain_id(rpc: JsonRpc) -> int:
    """The chain id of the node (EIP-695)."""
    return to_int(await rpc.call("eth_chainId"))


async def read_head(rpc: JsonRpc) -> Head:
    """The latest block; a chain without EIP-1559 has base fee 0."""
    block = await rpc.call("eth_getBlockByNumber", "latest", False)
    return Head(to_int(block["number"]), to_bytes(block["hash"]), to_int(block.get("baseFeePerGas", "0x0")))


async def read_accounts(rpc: JsonRpc, signers: Sequence[bytes]) -> list[Account]:
    """The accounts of the signers, in their order."""
    calls = [
        call
        for signer in map(to_hex, signers)
        for call in (
            Call("eth_getTransactionCount", (signer, "latest")),
            Call("eth_getTransactionCount", (signer, "pending")),
            Call("eth_getBalance", (signer, "latest")),
        )
    ]
    numbers = [to_int(_certain(reply)) for reply in await rpc.batch(calls)]
    return [Account(*numbers[start : start + 3]) for start in range(0, len(numbers), 3)]


async def read_balances(rpc: JsonRpc, signers: Sequence[bytes]) -> list[int]:
    """What the signers' accounts hold, in wei, in their order."""
    replies = await rpc.batch([Call("eth_getBalance", (to_hex(signer), "latest")) for signer in signers])
    return [to_int(_certain(reply)) for reply in replies]


def first_nonce(lane: Lane, account: Account) -> int:
    """The nonce a lane starts with that the ledger has never seen.

    Raises:
        ForeignNonceError: transactions are pending that aren't ours.
    """
    if account.pending_nonce > account.latest_nonce:
        raise ForeignNonceError(lane, account.pending_nonce, account.latest_nonce)
    return account.latest_nonce


def check_lane(lane: Lane, account: Account, settled_nonces: int, allocated_nonces: int) -> None:
    """Compares a known lane with the chain. `settled_nonces`: 1 + the highest nonce with a final outcome, or the lane's
    first nonce; `allocated_nonces`: the next nonce to hand out.

    Raises:
        ChainBehindLedgerError: fewer nonces are mined than are settled.
        ForeignNonceError: more nonces are mined or pending than were handed out.
    """
    if account.latest_nonce < settled_nonces:
        raise ChainBehindLedgerError(lane, account.latest_nonce, settled_nonces)
    seen = max(account.latest_nonce, account.pending_nonce)
    if seen > allocated_nonces:
        raise ForeignNonceError(lane, seen, allocated_nonces)


async def check_operators(rpc: JsonRpc, router: bytes, tickets: bytes, signers: Sequence[bytes]) -> None:
    """Sees that the lanes may use both contracts and that the router may move tickets.

    Raises:
        NotOperatorError: all that may not.
    """
    pairs = [(tickets, router), *((contract, signer) for signer in signers for contract in (router, tickets))]
    calls = [
        Call("eth_call", (call_object(contract, IS_OPERATOR + address_word(operator)), "latest"))
        for contract, operator in pairs
    ]
    replies = await rpc.batch(calls)
    # A contract that answers without bytes, or not at all, is another one.
    missing = [
        pair
        for pair, reply in zip(pairs, replies, strict=True)
        if isinstance(reply, RpcError) or not any(to_bytes(reply))
    ]
    if missing:
        raise NotOperatorError(missing)


def _certain(reply: Reply | RpcError) -> Reply:
    if isinstance(reply, RpcError):
        raise reply
    return reply
