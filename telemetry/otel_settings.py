"""OpenTelemetry's own environment variables, as far as its SDK doesn't read or check them; free of heavy imports."""

from __future__ import annotations

from collections.abc import Mapping

_SAMPLERS = tuple(
    f"{parent}{kind}" for parent in ("parentbased_", "") for kind in ("always_on", "always_off", "traceidratio")
)


def exports(signal: str, environment: Mapping[str, str]) -> bool:
    """Whether traces or metrics go to a collector: only if one is named, as OpenTelemetry's specification says."""
    chosen = environment.get(f"OTEL_{signal}_EXPORTER", "")
    named = environment.get("OTEL_EXPORTER_OTLP_ENDPOINT") or environment.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
    return bool(named) and chosen != "none"


def otel_faults(environment: Mapping[str, str]) -> list[str]:
    """What the SDK would only warn about later, one a line."""
    return [*_endpoint_faults(environment), *_sampler_faults(environment)]


def _endpoint_faults(environment: Mapping[str, str]) -> list[str]:
    names = [f"OTEL_EXPORTER_OTLP_{name}" for name in ("ENDPOINT", "TRACES_ENDPOINT", "METRICS_ENDPOINT")]
    given = {name: environment[name] for name in names if environment.get(name)}
    wrong = [name for name, url in given.items() if not url.startswith(("http://", "https://"))]
    faults = [f"{name}: must be an address as http://host:4318" for name in wrong]
    if environment.get("OTEL_EXPORTER_OTLP_PROTOCOL") not in (None, "", "http/protobuf"):
        faults.append("OTEL_EXPORTER_OTLP_PROTOCOL: only http/protobuf is supported")
    return faults


def _sampler_faults(environment: Mapping[str, str]) -> list[str]:
    sampler, share = environment.get("OTEL_TRACES_SAMPLER", ""), environment.get("OTEL_TRACES_SAMPLER_ARG", "")
    if sampler and sampler not in _SAMPLERS:
        return [f"OTEL_TRACES_SAMPLER: {sampler!r} must be one of {', '.join(_SAMPLERS)}"]
    if sampler.endswith("traceidratio") and not _is_share(share):
        return [f"OTEL_TRACES_SAMPLER_ARG: {share!r} must be a share from 0 to 1"]
    return []


def _is_share(text: str) -> bool:
    try:
        return 0 <= float(text) <= 1
    except ValueError:
        return False
