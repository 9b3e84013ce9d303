"""The worker's settings: what is refused and in which words, and what is taken."""

from __future__ import annotations

import pytest

from worker_settings import SettingsError, read_settings

SOUND = {
    "DATABASE_URL": "postgresql://u:secret@127.0.0.1:1/d",
    "TEMPORAL_ADDRESS": "127.0.0.1:7233",
    "CHAIN_RPC_URL": "http://127.0.0.1:1",
    "TICKETS_ADDRESS": "0x" + "11" * 20,
    "ROUTER_ADDRESS": "0x" + "22" * 20,
    "LANE_KEYSTORE": "/dev/null",
    "LANE_KEYSTORE_PASSWORD": "secret",
}


def put(monkeypatch: pytest.MonkeyPatch, **changes: str) -> None:
    """Makes the environment of a sound worker, but for the changes."""
    for name, value in (SOUND | changes).items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("SLICE_SIZE", "1001", "less than or equal to 1000"),
        ("SLICE_SIZE", "0", "greater than or equal to 1"),
        ("WINDOW", "many", "valid integer"),
        ("CHAIN_DEPTH", "-1", "greater than or equal to 1"),
        ("CHAIN_POLL_S", "nan", "finite"),
        ("CHAIN_POLL_S", "-1", "greater than 0"),
        ("SHUTDOWN_GRACE_S", "inf", "finite"),
        ("TRANSFERS_SLOTS", "29", r"29 is less than WINDOW \(30\)"),
        ("BLOCKCHAIN_SLOTS", "29", r"29 is less than WINDOW \(30\)"),
        ("TICKETS_ADDRESS", "0x12", "isn't an address: 0x and 40"),
        ("ROUTER_ADDRESS", "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD", "checksum is wrong"),
        ("ROUTER_ADDRESS", "0x" + "0" * 40, "zero address"),
        ("ROUTER_ADDRESS", "0x" + "11" * 20, "same as TICKETS_ADDRESS"),
        ("DATABASE_URL", "garbled", "must begin with postgresql://"),
        ("DATABASE_URL", "mysql://u:secret@127.0.0.1/d", "must begin with postgresql://"),
        ("DATABASE_URL", "postgresql://u:secret/1@127.0.0.1/d", "host or port can't be read"),
        ("DATABASE_URL", "postgresql://u:secret@127.0.0.1:99999/d", "host or port can't be read"),
        ("DATABASE_URL", "postgresql://u:secret@[::1/d", "host or port can't be read"),
        ("CHAIN_RPC_URL", "/garbled", "http://host:port"),
        ("CHAIN_RPC_URL", "ws://127.0.0.1:8546/secret", "http://host:port"),
        ("CHAIN_RPC_URL", "http://127.0.0.1:port", "http://host:port"),
        ("CHAIN_RPC_URL", "http://", "http://host:port"),
        ("TEMPORAL_ADDRESS", "garbled", "isn't host:port"),
        ("TEMPORAL_ADDRESS", "http://127.0.0.1:7233", "isn't host:port"),
        ("TEMPORAL_ADDRESS", "127.0.0.1:0", "isn't host:port"),
        ("LANE_KEYSTORE", "/nowhere/keystore.json", "there is no file /nowhere/keystore.json"),
        ("LANE_KEYSTORE", "/", "is a folder"),
        ("EXPIRE_TRANSFERS_EVERY_S", "-1", "greater than or equal to 10"),
        ("RETRY_FAILED_BUDGET_S", "nan", "finite"),
        ("STALE_BATCH_FAIL_AFTER_S", "60", "isn't more than STALE_BATCH_START_AFTER_S"),
    ],
)
def test_a_bad_setting_is_told_by_its_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str) -> None:
    """The fault is one line that names the variable and what it must be, without a secret."""
    put(monkeypatch, **{name: value})
    with pytest.raises(SettingsError, match=rf"^{name}: .*{said}.*$") as caught:
        read_settings()
    assert len(str(caught.value).splitlines()) == 1
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "postgres://u@db/d?sslmode=require"),
        ("DATABASE_URL", "postgresql://u:p%2F@[::1]:5432,other:5433/d"),
        ("DATABASE_URL", "postgresql:///d?host=/run/postgresql"),
        ("CHAIN_RPC_URL", "https://u:p@node.example/v3/key"),
        ("CHAIN_RPC_URL", "http://[::1]:8545"),
        ("TEMPORAL_ADDRESS", "[::1]:7233"),
        ("TEMPORAL_ADDRESS", ""),
        ("SLICE_SIZE", ""),
    ],
)
def test_unusual_but_sound_settings_are_taken(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """Several hosts, sockets, IPv6, credentials and empty optional variables are no faults."""
    put(monkeypatch, **{name: value})
    assert read_settings().slice_size == 500


def test_secrets_never_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the password nor the database's URL stand in the settings' repr."""
    put(monkeypatch)
    assert "secret" not in repr(read_settings())
