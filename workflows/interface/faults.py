"""What pydantic finds wrong with a request, in the words of its author."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

MOST_TOLD = 5
_WORDS = {
    "missing": "is missing",
    "extra_forbidden": "unknown field",
    "uuid_parsing": "must be a UUID",
    "uuid_type": "must be a UUID",
    "string_type": "must be a text",
    "string_unicode": "must be UTF-8",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "dict_type": "must be a JSON object",
    "model_type": "must be a JSON object",
    "model_attributes_type": "must be a JSON object",
}


def told(error: ValidationError) -> str:
    """The first faults on one line, each with the path of its field, and how many more there are."""
    faults: list[Any] = error.errors(include_url=False, include_input=False)
    lines = [f"{'.'.join(map(str, fault['loc'])) or 'input'}: {_words(fault)}" for fault in faults[:MOST_TOLD]]
    more = [f"and {len(faults) - MOST_TOLD} more"] if len(faults) > MOST_TOLD else []
    return "; ".join(lines + more)


def _words(fault: dict[str, Any]) -> str:
    kind, context = fault["type"], fault.get("ctx", {})
    if kind == "too_long":
        return f"has more than {context['max_length']:,} entries"
    if kind == "enum":
        return f"must be {context['expected']}"
    # Our own rules speak for themselves behind pydantic's prefix.
    own = str(fault["msg"]).removeprefix("Value error, ").replace("Input should be", "must be", 1)
    return _WORDS.get(kind, own)
