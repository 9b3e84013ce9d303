"""The worker's settings of alerts: whom to tell, and from where on a measurement is one (docs/operations.md)."""

from __future__ import annotations

import base64
import binascii
from datetime import timedelta
from decimal import Decimal
from typing import Annotated

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings

from activities.alerts import AlertPlan
from workflows.interface.alert_rules import WEI_PER_ETHER
from workflows.interface.alerts import Thresholds
from workflows.interface.targets import checked_target

SECRET_PREFIX = "whsec_"  # noqa: S105
FEWEST_SECRET_BYTES, MOST_SECRET_BYTES = 24, 64
_LIMITS = Thresholds()
_BALANCE_ETH = Decimal(_LIMITS.signer_balance_wei) / WEI_PER_ETHER

Seconds = Annotated[float, Field(ge=1, le=30 * 86_400, allow_inf_nan=False)]


class AlertSettings(BaseSettings):
    """Variables ALERT_*. The addresses hold keys, so they are secrets as well."""

    alert_webhook_secret: SecretStr | None = Field(default=None, repr=False)
    alert_webhook_url: SecretStr | None = None
    alert_slack_url: SecretStr | None = None
    alert_repeat_s: Seconds = 3600
    """An open alert is told again after this, unless somebody acknowledged it."""
    alert_quiet_s: Seconds = 7200
    """An alert that is raised where it's met closes when it isn't met again for this long."""

    alert_queue_depth: int = Field(default=_LIMITS.queue_depth, ge=1, le=1_000_000_000)
    alert_queue_age_s: Seconds = _LIMITS.queue_age_s
    # A worker's poll lasts a minute: below that, one that waits for work would look gone.
    alert_no_worker_s: float = Field(default=_LIMITS.no_worker_s, ge=70, le=86_400, allow_inf_nan=False)
    alert_schedule_intervals: float = Field(default=_LIMITS.schedule_intervals, ge=1.5, le=1000, allow_inf_nan=False)
    alert_window_s: Seconds = 900
    alert_failure_rate: float = Field(default=_LIMITS.failure_rate, ge=0, lt=1, allow_inf_nan=False)
    alert_failure_least_ended: int = Field(default=_LIMITS.failure_least_ended, ge=1, le=1_000_000_000)
    alert_dead_letters: int = Field(default=_LIMITS.dead_letters, ge=0, le=1_000_000_000)
    alert_signer_balance_eth: Decimal = Field(default=_BALANCE_ETH, ge=0, le=1_000_000, allow_inf_nan=False)
    alert_lane_stuck_s: Seconds = _LIMITS.lane_stuck_s
    alert_endpoint_disabled_s: Seconds = 86_400

    @field_validator("alert_webhook_secret")
    @classmethod
    def _is_secret(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            _secret_bytes(value)
        return value

    @field_validator("alert_webhook_url", "alert_slack_url")
    @classmethod
    def _is_target(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is None:
            return None
        checked_target(value.get_secret_value())
        # A secret that was refused is a fault of its own, and isn't among the data.
        unsigned = info.data.get("alert_webhook_secret", "refused") is None
        if info.field_name == "alert_webhook_url" and unsigned:
            raise ValueError("needs ALERT_WEBHOOK_SECRET, with which the messages are signed")
        return value

    @property
    def alert_secrets(self) -> list[str]:
        """What no log may show."""
        secrets = (self.alert_webhook_url, self.alert_webhook_secret, self.alert_slack_url)
        return [secret.get_secret_value() for secret in secrets if secret is not None]

    @property
    def alert_plan(self) -> AlertPlan:
        """The settings as the checks read them."""
        webhook, slack = self.alert_webhook_url, self.alert_slack_url
        limits = Thresholds(
            queue_depth=self.alert_queue_depth,
            queue_age_s=self.alert_queue_age_s,
            no_worker_s=self.alert_no_worker_s,
            schedule_intervals=self.alert_schedule_intervals,
            window=timedelta(seconds=self.alert_window_s),
            failure_rate=self.alert_failure_rate,
            failure_least_ended=self.alert_failure_least_ended,
            dead_letters=self.alert_dead_letters,
            signer_balance_wei=int(self.alert_signer_balance_eth * WEI_PER_ETHER),
            lane_stuck_s=self.alert_lane_stuck_s,
            disabled=timedelta(seconds=self.alert_endpoint_disabled_s),
        )
        return AlertPlan(
            limits=limits,
            quiet=timedelta(seconds=self.alert_quiet_s),
            repeat=timedelta(seconds=self.alert_repeat_s),
            webhook_url=None if webhook is None else webhook.get_secret_value(),
            webhook_secret=_secret_bytes(self.alert_webhook_secret) if self.alert_webhook_secret else b"",
            slack_url=None if slack is None else slack.get_secret_value(),
        )


def _secret_bytes(secret: SecretStr) -> bytes:
    """The HMAC key that `whsec_` and base64 stand for.

    Raises:
        ValueError: it isn't of that form, or too short or too long; without a word of the secret.
    """
    prefix, text = secret.get_secret_value()[: len(SECRET_PREFIX)], secret.get_secret_value()[len(SECRET_PREFIX) :]
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if prefix != SECRET_PREFIX or not FEWEST_SECRET_BYTES <= len(key) <= MOST_SECRET_BYTES:
        raise ValueError(
            f"must be {SECRET_PREFIX} and base64 of {FEWEST_SECRET_BYTES} to {MOST_SECRET_BYTES} random bytes"
        ) from None
    return key
