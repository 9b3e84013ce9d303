"""Gets the lanes ready as a worker starts: registered, in agreement with the chain, and kept where nonces are open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from activities.lane_waking import LaneWaker
from chain.heads import check_lane, check_operators, first_nonce, read_accounts, read_chain_id
from chain.quantities import to_hex
from chain.recipients import Recipients
from chain.rpc import JsonRpc
from ledger.lanes import LaneHead, Lanes
from worker_settings import SettingsError, WorkerSettings
from workflows.interface.chain import Lane


async def ready_lanes(
    rpc: JsonRpc, lanes: Lanes, signers: Sequence[bytes], settings: WorkerSettings, waker: LaneWaker
) -> None:
    """Registers new lanes, compares known ones with the chain, and wakes the keepers of those with open nonces.

    Raises:
        SettingsError: the database belongs to another chain, or a contract isn't there.
        ChainBehindLedgerError, ForeignNonceError, NotOperatorError: see chain.heads.
    """
    chain_id = await read_chain_id(rpc)
    others = set(await lanes.chain_ids()) - {chain_id}
    if others:
        raise SettingsError(f"CHAIN_RPC_URL is chain {chain_id}, but the database's lanes are on {sorted(others)}")
    router, tickets = (bytes.fromhex(address[2:]) for address in (settings.router_address, settings.tickets_address))
    await _check_contracts(rpc, {"TICKETS_ADDRESS": tickets, "ROUTER_ADDRESS": router}, chain_id)
    await check_operators(rpc, router, tickets, signers)
    # Other workers bind and settle meanwhile: the chain is at least where the ledger was before it was asked, and at
    # most where the ledger is afterwards.
    before = {head.lane.signer: head for head in await lanes.heads(chain_id)}
    accounts = await read_accounts(rpc, signers)
    after = {head.lane.signer: head for head in await lanes.heads(chain_id)}
    for signer, account in zip(signers, accounts, strict=True):
        lane, head = Lane(chain_id, signer), after.get(signer)
        if head is not None:
            settled_below = before[signer].settled_below if signer in before else 0
            check_lane(lane, account, settled_below, head.next_nonce)
        next_nonce = first_nonce(lane, account) if head is None else head.next_nonce
        await lanes.add(lane, next_nonce, settings.lane_max_in_flight)
    for head in _open(await lanes.heads(chain_id)):
        await waker.wake(head.lane)


async def _check_contracts(rpc: JsonRpc, contracts: Mapping[str, bytes], chain_id: int) -> None:
    found = await Recipients(rpc).with_code(contracts.values())
    told = [f"{name}: there is no contract at {to_hex(one)}" for name, one in contracts.items() if one not in found]
    if told:
        why = f"on chain {chain_id} (CHAIN_RPC_URL): correct the address or the node"
        raise SettingsError("\n".join(f"{line} {why}" for line in told))


def _open(heads: Sequence[LaneHead]) -> list[LaneHead]:
    """An allocated nonce is always sent and settled, also when its batch is gone: somebody has to look after it."""
    return [head for head in heads if head.open]
