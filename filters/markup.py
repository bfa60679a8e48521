"""Scraped pages: HTML to Markdown, and what the page's buttons left in the text."""

import re
from html.parser import HTMLParser
from typing import ClassVar

import polars as pl

_FENCED = re.compile(r"(```.*?(?:```|\Z))", re.DOTALL)
_TAG = re.compile(r"</?([A-Za-z][A-Za-z0-9]*)\b[^<>]*>")
_SKIPPED = frozenset({"button", "svg", "script", "style"})
_SCRAPED = _SKIPPED | frozenset(
    {
        *(
            "div",
            "span",
            "p",
            "br",
            "a",
            "ul",
            "ol",
            "li",
            "pre",
            "code",
            "strong",
            "b",
            "em",
            "i",
            "blockquote",
            "img",
        ),
        *("h1", "h2", "h3", "h4", "h5", "h6", "hr", "table", "thead", "tbody", "tr", "td", "th", "sup", "sub", "del"),
        *("path", "polyline", "rect", "circle", "line", "g"),
    }
)
"""Tags of a rendered answer; any other (form, html, className ...) shows that the text is about markup."""
_BLOCKS = frozenset({"div", "p", "pre", "ul", "ol", "table", "blockquote"})
"""A line break alone is no page: Markdown tables are full of them."""
_DEEPEST = 8
_HINT = r"(?i)<(?:div|p|pre|ul|ol|table|blockquote)(?:\s[^<>]*)?/?>"
_ABOUT_MARKUP = (
    r"(?i)\bhtml\b|\bcss\b|\bjsx?\b|\bxml\b|\btags?\b|标签|标记语言|网页代码|<!doctype|classname=|\bid=|\{\{?\w+\}"
)


def html_to_markdown(text: pl.Expr) -> pl.Expr:
    """Turn the HTML of a scraped answer into Markdown, as FastChat does for ShareGPT pages.

    Only texts whose tags, fenced code apart, are all such as a rendered answer has, among them a block, and which do
    not speak of markup: there the tags are the answer.
    """
    tagged = text.str.contains_any([f"<{tag}" for tag in sorted(_BLOCKS)], ascii_case_insensitive=True)
    needed = tagged & text.str.contains(_HINT) & ~text.str.contains(_ABOUT_MARKUP)
    return pl.coalesce(pl.when(needed).then(text).map_elements(markdown, return_dtype=pl.String), text)


def markdown(text: str) -> str:
    """The text with rendered HTML outside of fenced code turned into Markdown; others come back as they are."""
    pieces = _FENCED.split(text)
    tags = {match[1].lower() for piece in pieces[::2] for match in _TAG.finditer(piece)}
    if not tags & _BLOCKS or tags - _SCRAPED:
        return text
    return "".join(piece if at % 2 else _converted(piece) for at, piece in enumerate(pieces)).strip()


def _converted(html: str) -> str:
    page = _Page()
    page.feed(html)
    page.close()
    return re.sub(r"\n{3,}", "\n\n", re.sub(r"(?<![ \t])[ \t]+\n", "\n", "".join(page.out)))


class _Page(HTMLParser):
    """Writes Markdown while the parser walks the tags."""

    _AROUND: ClassVar = {"strong": "**", "b": "**", "em": "*", "i": "*", "del": "~~"}
    _BREAKING: ClassVar = frozenset({"div", "p", "blockquote", "table", "ul", "ol"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.out: list[str] = []
        self._lists: list[int | None] = []
        self._skipping = 0
        self._code: list[str] | None = None
        self._language = ""
        self._links: list[str] = []
        self._cells = 0
        self._header = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in _SKIPPED:
            self._skipping += 1
        elif self._code is not None:
            if tag == "code":  # what stands before it is the label of the page's code box
                found = re.search(r"language-(\w+)", given.get("class") or "")
                label = re.fullmatch(r"\s*(\w{1,12})\s*", "".join(self._code))
                self._language = found[1] if found else label[1] if label else ""
                self._code = []
        elif tag == "pre":
            self._code, self._language = [], ""
        elif tag in ("ul", "ol"):
            self._lists.append(None if tag == "ul" else 0)
        elif tag == "a":
            self._links.append(given.get("href") or "")
            self.out.append("[")
        elif tag == "img":
            self.out.append(f"![{given.get('alt') or ''}]({given.get('src') or ''})")
        else:
            self._open(tag)

    def _open(self, tag: str) -> None:
        """Tags that stand for some characters."""
        if tag == "li":
            self._item()
        elif tag == "br":
            self.out.append("\n")
        elif tag == "hr":
            self.out.append("\n\n---\n\n")
        elif re.fullmatch("h[1-6]", tag):
            self.out.append("\n\n" + "#" * int(tag[1]) + " ")
        elif tag in ("td", "th"):
            self.out.append("| ")
            self._cells, self._header = self._cells + 1, tag == "th"
        elif tag == "code":
            self.out.append("`")
        elif tag in self._AROUND:
            self.out.append(self._AROUND[tag])
        elif tag in self._BREAKING and not self._lists:
            self.out.append("\n\n" + ("> " if tag == "blockquote" else ""))

    def _item(self) -> None:
        depth = min(_DEEPEST, max(0, len(self._lists) - 1))
        number = self._lists[-1] if self._lists else None
        if number is not None:
            self._lists[-1] = number + 1
        self.out.append("\n" + "  " * depth + ("- " if number is None else f"{number + 1}. "))

    def handle_endtag(self, tag: str) -> None:
        if tag in _SKIPPED:
            self._skipping = max(0, self._skipping - 1)
        elif tag == "pre" and self._code is not None:
            code = re.sub(r"^\s*\w{0,12}\s*Copy code", "", "".join(self._code)).strip("\n")
            self.out.append(f"\n\n```{self._language}\n{code}\n```\n\n")
            self._code = None
        elif self._code is not None:
            return
        elif tag in ("ul", "ol") and self._lists:
            self._lists.pop()
            self.out.append("" if self._lists else "\n\n")
        elif tag == "a" and self._links:
            self.out.append(f"]({self._links.pop()})")
        elif tag in ("td", "th"):
            self.out.append(" ")
        elif tag == "tr":
            self.out.append("|\n" + ("|" + " --- |" * self._cells + "\n" if self._header else ""))
            self._cells, self._header = 0, False
        elif tag == "code":
            self.out.append("`")
        elif tag in self._AROUND:
            self.out.append(self._AROUND[tag])
        elif (tag in self._BREAKING or re.fullmatch("h[1-6]", tag)) and not self._lists:
            self.out.append("\n\n")

    def handle_data(self, data: str) -> None:
        if self._skipping:
            return
        if self._code is not None:
            self._code.append(data)
        elif data.strip() or not self.out or not self.out[-1].endswith("\n"):
            self.out.append(data)


_COPY_IN_FENCE = r"```[ \t]*(\w*?)[ \t]*Copy code[ \t]*`?\n?"
_COPY_LINE = r"\n[ \t]*Copy code[ \t]*\n"
_COUNTER = r"^\s*\d{1,3} / \d{1,3}(?:[ \t]*\n\s*|(\p{L}))"
_SIZE = r"\n?[ \t]*Copy\d+ chars / \d+ words[ \t]*\n?"


def page_remnants(text: pl.Expr) -> pl.Expr:
    """Cut what the buttons of a chat page leave: "Copy code" in code, "2 / 3" before a text, "Copy50 chars / 9 words".

    FastChat's clean_sharegpt and Koala cut the same. "1 / 2" alone is an answer.
    """
    mended = text.str.replace_all(_COPY_IN_FENCE, "```${1}\n").str.replace_all(_COPY_LINE, "\n")
    mended = mended.str.replace(_COUNTER, "${1}").str.replace_all(_SIZE, "\n")
    needed = text.str.contains(r"Copy code|Copy\d+ chars|^\s*\d{1,3} / \d")
    return pl.when(needed).then(mended).otherwise(text)


def blank_lines(text: pl.Expr) -> pl.Expr:
    """Make three and more line breaks two, but not where there is fenced code."""
    needed = text.str.contains("\n\n\n", literal=True) & ~text.str.contains("```", literal=True)
    return pl.when(needed).then(text.str.replace_all(r"\n{3,}", "\n\n")).otherwise(text)


_ADDRESS = (
    r"^\s*(?:请|要求|希望|让|需要)\s*(?:一个|这个|该)?\s*(?:GPT|ChatGPT|AI)\s?(?:语言)?"
    r"模型\s*(?:能够|能|可以|来|去)?[，,]?\s*"
)


def model_address(text: pl.Expr) -> pl.Expr:
    """Cut "请GPT模型" and the like from the start of a task, as BELLE does."""
    return text.str.replace(_ADDRESS, "")
