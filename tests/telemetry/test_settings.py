"""The worker's settings for telemetry: what is refused, and in which words."""

from __future__ import annotations

import pytest

from telemetry.otel_settings import exports, otel_faults
from telemetry.providers import Address
from tests.worker.test_settings import put
from worker_settings import SettingsError, read_settings


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("METRICS_ADDRESS", "9464", "isn't host:port"),
        ("METRICS_ADDRESS", "127.0.0.1:99999", "isn't host:port"),
        ("LOG_FORMAT", "xml", "'text' or 'json'"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317", "http://host:4318"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "only http/protobuf"),
        ("OTEL_TRACES_SAMPLER", "sometimes", "must be one of parentbased_always_on"),
    ],
)
def test_a_bad_setting_is_told_by_its_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str) -> None:
    """The fault is one line that names the variable and what it must be."""
    put(monkeypatch, **{name: value})
    with pytest.raises(SettingsError, match=rf"^{name}: .*{said}.*$"):
        read_settings()


@pytest.mark.parametrize(("share", "faults"), [("0.5", 0), ("1.5", 1), ("", 1), ("many", 1)])
def test_a_share_is_needed_where_the_sampler_takes_one(share: str, faults: int) -> None:
    """The SDK would keep all traces in its place."""
    environment = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": share}
    assert len(otel_faults(environment)) == faults


def test_without_settings_nothing_listens_and_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """No endpoint, no exporter; with an address the endpoint is where it says, IPv6 included."""
    put(monkeypatch)
    assert read_settings().metrics_endpoint is None
    put(monkeypatch, METRICS_ADDRESS="[::1]:9464")
    assert read_settings().metrics_endpoint == Address("::1", 9464)
    assert not exports("TRACES", {})
    assert exports("METRICS", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"})
    assert not exports("METRICS", {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318"})
    assert not exports("TRACES", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "none"})
