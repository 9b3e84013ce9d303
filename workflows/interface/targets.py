"""What the URL of a webhook subscription must look like when it's created. Where it leads is judged at every dial."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

MAX_URL_BYTES = 2048
MAX_HOST_CHARACTERS = 253
_SCHEMES = ("http", "https")


def checked_target(url: str) -> str:
    """The URL, unchanged.

    Raises:
        ValueError: not http(s), no host, a user name or password, a fragment, a bad port, blanks, or too long.
    """
    if len(url.encode(errors="replace")) > MAX_URL_BYTES:
        raise ValueError(f"the URL is longer than {MAX_URL_BYTES} bytes")
    if not url.isprintable() or " " in url or "\\" in url:
        raise ValueError("the URL holds blanks, control characters or backslashes")
    fault = _fault(_split(url))
    if fault:
        raise ValueError(fault)
    return url


def _split(url: str) -> SplitResult:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError as error:
        raise ValueError("the URL's port isn't a number from 1 to 65535") from error
    if port == 0:
        raise ValueError("the URL's port isn't a number from 1 to 65535")
    return parts


def _fault(parts: SplitResult) -> str | None:
    if parts.scheme not in _SCHEMES:
        return "the URL must begin with http:// or https://" + (f", not {parts.scheme}:" if parts.scheme else "")
    if not parts.hostname or len(parts.hostname) > MAX_HOST_CHARACTERS:
        return "the URL has no host, or one that is too long"
    if not _is_resolvable(parts.hostname):
        return "the URL's host is no name that can be looked up: a part between two dots is empty or too long"
    if "@" in parts.netloc:
        return "the URL holds a user name or password; receivers check the signature instead"
    if parts.fragment:
        return "the URL has a fragment (#…), which is never sent"
    return None


def _is_resolvable(host: str) -> bool:
    """Whether a resolver would take the name at all: the same encoding is the first thing it does."""
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return True
