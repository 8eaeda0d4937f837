"""What an HTML page would load from elsewhere."""

from __future__ import annotations

from html.parser import HTMLParser


class Requests(HTMLParser):
    """Collects what a page would load from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in {"script", "link", "iframe"}
        links = [value or "" for name, value in attrs if name in {"src", "href", "xlink:href"}]
        self.addresses += [link for link in links if not link.startswith(("#", "data:"))]


def external_requests(page: str) -> list[str]:
    """Return the addresses that a page would load something from."""
    parser = Requests()
    parser.feed(page)
    return parser.addresses
