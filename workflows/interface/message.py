"""The base of every message: frozen, camelCase in JSON, snake_case in Python."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class Message(BaseModel):
    """A message between processes. Unknown fields are ignored, so that a newer sender can add some."""

    model_config = ConfigDict(
        frozen=True, alias_generator=to_camel, populate_by_name=True, serialize_by_alias=True, extra="ignore"
    )

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values without defaults, so that the data converter of whoever starts work doesn't matter."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)


class Request(Message):
    """A message written by a caller. Unknown fields are refused: a mistyped option must not be overlooked."""

    model_config = ConfigDict(extra="forbid")
