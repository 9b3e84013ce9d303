"""What URLs a subscription may have."""

from __future__ import annotations

import pytest

from workflows.interface.targets import checked_target


@pytest.mark.parametrize(
    "url", ["http://localhost:8080/hooks?a=b", "https://example.com", "https://[::1]/x", "https://bücher.example/"]
)
def test_plain_targets_are_taken(url: str) -> None:
    """An http(s) URL with a host is taken as it is."""
    assert checked_target(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com/hooks",
        "ftp://example.com",
        "file:///etc/passwd",
        "http://",
        "http:///path",
        "http://user:secret@example.com/",
        "http://@example.com/",
        "http://example.com/#part",
        "http://example.com:0/",
        "http://example.com:99999/",
        "http://example.com:port/",
        "http://exa mple.com/",
        "http://a..b/",
        "http://.example.com/",
        "http://" + "a" * 64 + ".com/",
        "http://example.com/\r\nx: y",
        "http://example.com\\@other/",
        "http://[::1/",
        "http://" + "a" * 254,
        "http://example.com/" + "a" * 2048,
    ],
)
def test_bad_targets_are_refused(url: str) -> None:
    """A URL of another scheme, without host, with user name, fragment, bad port, blanks, or too long is refused."""
    with pytest.raises(ValueError, match="URL"):
        checked_target(url)


@pytest.mark.parametrize(("url", "said"), [("foo", "http:// or https://$"), ("ftp://x", "https://, not ftp:$")])
def test_a_wrong_scheme_is_named(url: str, said: str) -> None:
    """The message says which schemes are taken, and names the one it got where there is one."""
    with pytest.raises(ValueError, match=said):
        checked_target(url)
