"""Markdown out of hostile text: what comes from data is shown, and never becomes a link, an image or markup."""

import re
from collections.abc import Sequence

_LONGEST = 200
_SPECIAL = re.compile(r"([\\`*_\[\]|~$@]|^[#+-])")


def one_line(text: str, longest: int = _LONGEST) -> str:
    """The text on one line, without control and direction characters, cut to a length."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    shown = " ".join(shown.split())
    return shown if len(shown) <= longest else f"{shown[:longest]}..."


def plain(text: str) -> str:
    """The text as it is read, whatever markdown, HTML or mathematics is in it."""
    text = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = _SPECIAL.sub(r"\\\1", text)
    # A full stop, a bracket or a slash matters only where it makes a list or a bare address.
    text = re.sub(r"^(\d+)([.)])(?=\s|$)", r"\1\\\2", text)
    return text.replace("://", ":&#47;&#47;").replace("www.", "www&#46;")


def code(text: str) -> str:
    """The text as code, fit for a table's cell."""
    text = one_line(text).replace("`", "'").replace("|", "¦")
    return f"`{text}`" if text else "` `"


def block(text: str, language: str) -> str:
    """A fenced block, by a fence that no run of backticks in the text can end."""
    fence = "`" * (1 + max([2, *map(len, re.findall("`+", text))]))
    text = "".join(c if c in "\n\t" or c.isprintable() else " " for c in text)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], align: str = "l") -> str:
    """A table of cells that are markdown already; `align` has a letter a column, l or r, r when it is too short."""
    rule = ["---" if side == "l" else "---:" for side in align.ljust(len(header), "r")]
    return "\n".join(f"| {' | '.join(cells)} |".replace("|  |", "| |") for cells in (header, rule, *rows))
