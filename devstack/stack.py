"""Brings the whole stack up, down and away: starts what isn't running, and undoes its own start on failure."""

from __future__ import annotations

import asyncio
import fcntl
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from devstack import seed
from devstack.chain_node import BlockRef, holds_block, is_chain_ready, start_chain
from devstack.deploy import write_lane_keystore
from devstack.ending import signals_deferred, uninterrupted
from devstack.environment import env_text, own_worker_environment
from devstack.errors import StackError
from devstack.ports import PortName, Ports, choose_ports, default_ports, moved
from devstack.postgres import PostgresServer, remove_data
from devstack.processes import ProcessRecord, is_running, kill, log_tail, spawn, stop, wait_until
from devstack.state import Deployment, Layout, Server, StackState, write_private
from devstack.temporal import is_temporal_ready, is_worker_polling, start_temporal
from devstack.tools import ROOT, anvil_program, temporal_program

_READY_TIMEOUT_S = 60.0
_LOCK_POLL_S = 0.05
# Anvil writes its state when it stops, which takes a while for a long chain.
_STOP_TIMEOUT_S = {
    Server.WORKER: 30.0,
    Server.RECEIVER: 10.0,
    Server.TEMPORAL: 20.0,
    Server.CHAIN: 60.0,
    Server.POSTGRES: 30.0,
}
# SIGINT: Postgres' fast shutdown, and what anvil and the dev server take as Ctrl-C.
_STOP_SIGNAL = {
    Server.WORKER: signal.SIGTERM,
    Server.RECEIVER: signal.SIGTERM,
    Server.TEMPORAL: signal.SIGINT,
    Server.CHAIN: signal.SIGINT,
    Server.POSTGRES: signal.SIGINT,
}
_WORKER_QUEUES = ("transfers", "blockchain", "webhooks", "maintenance")
_PORT_OF = {
    Server.POSTGRES: PortName.POSTGRES,
    Server.TEMPORAL: PortName.TEMPORAL,
    Server.CHAIN: PortName.CHAIN,
    Server.WORKER: PortName.METRICS,
}


class Stack:
    """One stack in one folder. Use it inside `guarded()`: two commands on the same folder would trip each other up."""

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str],
        say: Callable[[str], None],
        worker_settings: Mapping[str, str] | None = None,
    ) -> None:
        self.layout = Layout(folder)
        self._worker_settings = dict(worker_settings or {})
        self._environment = environment
        self._say = say
        self._started: list[Server] = []

    @contextmanager
    def guarded(self, patience_s: float = 0.0) -> Iterator[None]:
        """Holds the folder's lock.

        Raises:
            StackError: another command holds it, still after `patience_s`.
        """
        self.layout.lock_file.parent.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + patience_s
        with self.layout.lock_file.open("w") as guard:
            while not _try_lock(guard.fileno()):
                if time.monotonic() >= deadline:
                    raise StackError(f"another command is at work on {self.layout.folder}: wait for it or end it")
                time.sleep(_LOCK_POLL_S)  # flock has no timeout of its own
            yield

    @property
    def state(self) -> StackState:
        """What is remembered now.

        Raises:
            StackError: nothing is.
        """
        state = self.layout.load()
        if state is None:
            raise StackError("there is no stack: run `make up` first")
        return state

    @property
    def deployment(self) -> Deployment:
        """The contracts.

        Raises:
            StackError: they aren't deployed.
        """
        deployment = self.state.deployment
        if deployment is None:
            raise StackError("the contracts aren't deployed: run `make up`")
        return deployment

    def up(self, ports: Ports | None = None, with_worker: bool = True) -> StackState:
        """Starts what isn't running and waits until it serves; on failure stops what this call had started.

        Args:
            ports: the ports of a fresh stack, when they aren't to be the defaults.
            with_worker: whether to start a worker, too.

        Raises:
            StackError: something is missing, taken, broken or doesn't come up.
        """
        try:
            self._start_servers(ports)
            self._prepare()
            if with_worker:
                self.start_worker()
            self._write_env()
        except BaseException:  # Ctrl-C too: nothing may stay running; raised again
            self._undo()
            raise
        return self.state

    def start_worker(self) -> ProcessRecord:
        """Starts a worker if none runs and waits until it polls its queues."""
        state = self.state
        record = state.processes.get(Server.WORKER)
        if record is None or not is_running(record):
            record = self.spawn_worker()
            self._await_worker(record)
            self._write_env()
        return record

    def spawn_worker(self) -> ProcessRecord:
        """Starts a worker without waiting for it."""
        environment = own_worker_environment(self.layout, self.state) | self._worker_settings
        command: list[str | Path] = [sys.executable, ROOT / "worker.py"]
        return self._spawn(Server.WORKER, lambda: spawn(command, self.layout.log(Server.WORKER), environment, cwd=ROOT))

    def kill_worker(self) -> None:
        """SIGKILL to the worker."""
        record = self.state.processes.get(Server.WORKER)
        if record is not None:
            kill(record)

    def worker_runs(self) -> bool:
        """Whether the worker we started still runs."""
        return is_running(self.state.processes.get(Server.WORKER))

    def worker_log_tail(self) -> str:
        """The worker's last words, on one line."""
        return log_tail(self.layout.log(Server.WORKER))

    def start_receiver(self, secret: str) -> str:
        """Starts a receiver of webhooks on a free port; returns its base URL."""
        log = self.layout.log(Server.RECEIVER)
        command = [sys.executable, "-m", "devstack", "receiver", "--port", "0", "--quiet"]
        record = self._spawn(Server.RECEIVER, lambda: spawn(command, log, {"RECEIVER_SECRET": secret}, cwd=ROOT))
        wait_until(Server.RECEIVER.spoken, record, log, lambda: "/hooks" in log.read_text(), _READY_TIMEOUT_S)
        return log.read_text().rpartition("receiving at ")[2].partition("/hooks")[0]

    def down(self) -> bool:
        """Stops all that runs and keeps the data; returns whether anything ran."""
        state = self.layout.load()
        if state is None:
            return False
        running = state.running()
        for server in Server:
            self._stop(server)
        self.layout.env_file.unlink(missing_ok=True)
        return bool(running)

    def clean(self) -> None:
        """Stops all that runs and deletes the folder."""
        self.down()
        remove_data(self.layout.postgres)
        shutil.rmtree(self.layout.folder, ignore_errors=True)

    def _start_servers(self, ports: Ports | None) -> None:
        temporal, anvil = temporal_program(), anvil_program()
        state = self._choose_state(ports)
        layout, urls = self.layout, state
        if Server.POSTGRES not in state.running():
            self._say("starting Postgres, the Temporal dev server and anvil")
        postgres = PostgresServer(
            layout.postgres, state.ports.postgres, state.postgres_password, layout.log(Server.POSTGRES)
        )
        starts: dict[Server, tuple[Callable[[], ProcessRecord], Callable[[], bool]]] = {
            Server.POSTGRES: (postgres.start, postgres.is_ready),
            Server.TEMPORAL: (
                lambda: start_temporal(
                    temporal,
                    layout.temporal_database,
                    state.ports.temporal,
                    state.ports.temporal_ui,
                    layout.log(Server.TEMPORAL),
                ),
                lambda: is_temporal_ready(urls.temporal_address),
            ),
            Server.CHAIN: (
                lambda: start_chain(anvil, layout.chain_state, state.ports.chain, layout.log(Server.CHAIN)),
                lambda: is_chain_ready(urls.chain_rpc_url),
            ),
        }
        for server, (start, _) in starts.items():
            if server not in state.running():
                self._spawn(server, start)
        for server, (_, is_ready) in starts.items():
            wait_until(server.spoken, self.state.processes[server], layout.log(server), is_ready, _READY_TIMEOUT_S)

    def _choose_state(self, ports: Ports | None) -> StackState:
        """The remembered state or a fresh one, with the ports to use now."""
        before = self.layout.load()
        if before is None and self.layout.postgres.exists():
            raise StackError(f"{self.layout.folder} holds data without state.json: run `make clean`")
        self.layout.folder.mkdir(parents=True, exist_ok=True)
        running = before.running() if before else frozenset()
        in_use = {port for server, port in _PORT_OF.items() if server in running}
        if Server.TEMPORAL in running:
            in_use.add(PortName.TEMPORAL_UI)
        known = before.ports if before else ports
        chosen = choose_ports(self._environment if ports is None else {}, known, frozenset(in_use))
        for line in moved(self._environment, known or default_ports(), chosen):
            self._say(line)
        state = before.model_copy(update={"ports": chosen}) if before else StackState(ports=chosen)
        self.layout.save(state)
        return state

    def _prepare(self) -> None:
        """Schema, contracts, lanes and the demo user: each only when missing."""
        state = self.state
        asyncio.run(seed.prepare_database(state))
        if state.deployment is None:
            self._say("deploying the contracts")
            state = state.model_copy(update={"deployment": asyncio.run(seed.deploy_contracts(state))})
            self.layout.save(state)
        else:
            self._refuse_chain_behind(state)
        if not self.layout.keystore.exists():
            write_lane_keystore(self.layout, state.keystore_password)
        asyncio.run(seed.ensure_demo_sender(state))

    def _refuse_chain_behind(self, state: StackState) -> None:
        for block in asyncio.run(seed.blocks_postgres_relies_on(state)):
            if not holds_block(state.chain_rpc_url, BlockRef(*block)):
                raise StackError(
                    f"the chain is behind Postgres: block {block.number} is gone (anvil keeps its state only over a"
                    " clean stop). Run `make clean`, then `make up`"
                )

    def _await_worker(self, record: ProcessRecord) -> None:
        address = self.state.temporal_address
        wait_until(
            "the worker",
            record,
            self.layout.log(Server.WORKER),
            lambda: is_worker_polling(address, record.pid, _WORKER_QUEUES),
            _READY_TIMEOUT_S,
        )

    def _spawn(self, server: Server, start: Callable[[], ProcessRecord]) -> ProcessRecord:
        """Starts and remembers; nothing comes between."""
        with signals_deferred():
            record = start()
            self._started.append(server)
            self.layout.save(self.state.with_process(server, record))
        return record

    def _write_env(self) -> None:
        write_private(self.layout.env_file, env_text(self.layout, self.state))

    def _stop(self, server: Server) -> None:
        record = self.state.processes.get(server)
        if record is not None:
            stop(record, _STOP_SIGNAL[server], _STOP_TIMEOUT_S[server])
            self.layout.save(self.state.with_process(server, None))

    def _undo(self) -> None:
        """Stops what this object started, in the order of stopping; a second Ctrl-C doesn't break it off."""
        with uninterrupted():
            for server in Server:
                if server in self._started:
                    self._stop(server)
            self._started.clear()


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
