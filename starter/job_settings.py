"""How often the scheduled jobs run, and their limits: read by the worker and by `transfers schedules apply`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

DAY_S = 86_400

Interval = Annotated[float, Field(ge=10, le=7 * DAY_S, allow_inf_nan=False)]
"""Seconds; below 10 s the server's catch-up window would be longer than the interval."""
PageSize = Annotated[int, Field(ge=1, le=5_000)]


class JobSettings(BaseSettings):
    """The variables of the scheduled jobs; every one has a default."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    expire_transfers_every_s: Interval = 300
    expire_page_size: PageSize = 1_000
    """Transfers that expire in one transaction."""
    retry_failed_every_s: Interval = 60
    retry_failed_page_size: int = Field(default=10, ge=1, le=1_000)
    retry_failed_after_s: float = Field(default=300, ge=0, le=30 * DAY_S, allow_inf_nan=False)
    """Since a failed transfer's last retry."""
    retry_failed_budget_s: float = Field(default=50, gt=0, le=55, allow_inf_nan=False)
    """No new page of failed transfers is begun after it."""
    archive_every_s: Interval = DAY_S
    archive_page_size: PageSize = 1_000
    webhook_retention_days: float = Field(default=30, ge=1, le=3_650, allow_inf_nan=False)
    """Finished deliveries and their attempts are archived after it."""
    clean_batches_every_s: Interval = 3_600
    stale_batch_start_after_s: float = Field(default=3_600, ge=60, le=30 * DAY_S, allow_inf_nan=False)
    """A batch that was staged and never started is started after it."""
    stale_batch_fail_after_s: float = Field(default=7 * DAY_S, ge=60, le=365 * DAY_S, allow_inf_nan=False)
    """One that is older isn't started any more: it fails."""
    compare_counters_within_s: float = Field(default=DAY_S, gt=0, le=365 * DAY_S, allow_inf_nan=False)
    """Counters of batches that ended so long ago are compared with their items."""
    sweep_webhooks_every_s: Interval = 60
    check_alerts_every_s: Interval = 60

    # Rules over two fields stand at the later one: a rule over the whole model would wait until each field is sound.
    @field_validator("retry_failed_budget_s")
    @classmethod
    def _fits_interval(cls, value: float, info: ValidationInfo) -> float:
        interval = info.data.get("retry_failed_every_s", value + 1)
        if value >= interval:
            raise ValueError(f"{value:g} isn't less than RETRY_FAILED_EVERY_S ({interval:g}): runs would be skipped")
        return value

    @field_validator("stale_batch_fail_after_s")
    @classmethod
    def _leaves_time_to_start(cls, value: float, info: ValidationInfo) -> float:
        start_after = info.data.get("stale_batch_start_after_s", 0)
        if value <= start_after:
            raise ValueError(
                f"{value:g} isn't more than STALE_BATCH_START_AFTER_S ({start_after:g}): none would be started"
            )
        return value
