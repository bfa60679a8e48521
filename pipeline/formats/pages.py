"""Scraped pages of ShareGPT: the conversation that the page's `__NEXT_DATA__` script holds, as one row of `openchat`.

OpenChat's clean_sharegpt.py reads the same. The answers of such pages are HTML and become Markdown here, as it and
FastChat make of them.
"""

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from filters.markup import markdown
from pipeline.errors import DataError
from pipeline.formats.decode import decode_line
from pipeline.formats.elements import RAW_CHARACTERS, Row, Unreadable, shown
from pipeline.formats.shape import Bad


class _Script(HTMLParser):
    """Finds the script with the page's data."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.text: list[str] | None = None
        self.line = 1
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "script" and ("id", "__NEXT_DATA__") in attrs and self.text is None:
            self.text, self._inside, self.line = [], True, self.getpos()[0]

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and tag != "script"

    def handle_data(self, data: str) -> None:
        if self._inside and self.text is not None:
            self.text.append(data)


def page_rows(path: Path, text: str) -> Iterator[Row | Unreadable]:
    """The page's conversation.

    Raises:
        DataError: the page holds none.
    """
    script = _Script()
    script.feed(text)
    script.close()
    if script.text is None:
        hint = "pages of sharegpt.com are read; of others take the conversation out first"
        raise DataError(f"{path}: is an HTML page without a conversation that we know", hint)
    raw = "".join(script.text).strip()
    try:
        if any("\udc80" <= character <= "\udcff" for character in raw):
            raise Bad("bad-utf8", "bytes that are not UTF-8")
        yield Row(script.line, _conversation(decode_line(raw)), raw[:RAW_CHARACTERS])
    except Bad as bad:
        yield Unreadable(script.line, bad.reason, bad.error, shown(raw), bad.field)


def _conversation(data: Any) -> dict[str, Any]:
    page = data
    for name in ("props", "pageProps"):
        page = page.get(name) if isinstance(page, dict) else None
    content = page.get("content") if isinstance(page, dict) else None
    items = content.get("items") if isinstance(content, dict) else None
    if not isinstance(page, dict) or not isinstance(content, dict) or not isinstance(items, list):
        raise Bad("missing-field", "the page's data has no props.pageProps.content.items", "items")
    told = {name: page[name] for name in ("id", "views") if name in page}
    return {**told, **content, "items": [_as_markdown(item) for item in items]}


def _as_markdown(item: Any) -> Any:
    if isinstance(item, dict) and isinstance(item.get("value"), str):
        return {**item, "value": markdown(item["value"])}
    return item
