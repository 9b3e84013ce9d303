"""The settings that programs need to use a stack: for the worker's process, and as the env file for any other."""

from __future__ import annotations

from devstack.ports import HOST
from devstack.state import NAMESPACE, Layout, Server, StackState

DEMO_SENDER = "season-office"


def client_environment(state: StackState) -> dict[str, str]:
    """What a client of the service needs."""
    return {
        "DATABASE_URL": state.database_url,
        "TEMPORAL_ADDRESS": state.temporal_address,
        "TEMPORAL_NAMESPACE": NAMESPACE,
    }


def worker_environment(layout: Layout, state: StackState) -> dict[str, str]:
    """What a worker needs on top: the chain and the lanes' keys."""
    deployment = state.deployment
    chain = {"CHAIN_RPC_URL": state.chain_rpc_url}
    if deployment is not None:
        chain |= {"TICKETS_ADDRESS": deployment.tickets_address, "ROUTER_ADDRESS": deployment.router_address}
    keys = {"LANE_KEYSTORE": str(layout.keystore), "LANE_KEYSTORE_PASSWORD": state.keystore_password}
    return client_environment(state) | chain | keys


def own_worker_environment(layout: Layout, state: StackState) -> dict[str, str]:
    """What the stack's own worker gets on top: a port that only one worker can listen on."""
    return worker_environment(layout, state) | {"METRICS_ADDRESS": f"{HOST}:{state.ports.metrics}"}


def env_text(layout: Layout, state: StackState) -> str:
    """The env file: dotenv lines, the pids of the running servers included."""
    values = worker_environment(layout, state) | {
        "DEMO_SENDER": DEMO_SENDER,
        "TEMPORAL_UI_URL": state.temporal_ui_url,
        "METRICS_URL": f"http://{HOST}:{state.ports.metrics}/metrics",
        **{f"{server.name}_PID": _pid(state, server) for server in Server if server is not Server.RECEIVER},
    }
    return (
        f"# Written by `make up`. Servers listen on {HOST} alone; the keys are anvil's well-known test keys.\n"
        + "".join(f"{name}={value}\n" for name, value in values.items())
    )


def _pid(state: StackState, server: Server) -> str:
    record = state.processes.get(server)
    return str(record.pid) if record else ""
