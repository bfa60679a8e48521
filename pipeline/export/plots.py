"""Pictures for the card: bar charts as PNG, drawn by Pillow with the font it carries, so that they look alike anywhere.

That font has no Chinese: names from data that it cannot write stand under the picture, see `labels`.
"""

import io
from collections.abc import Sequence
from typing import Any

from pipeline.export.figures import Bin, short

_WIDTH = 1_280
_MARGIN = 36
_TITLE, _TEXT = 30, 24
_INK, _SOFT, _BAR, _PAPER = "#1f2933", "#7b8794", "#2f6f9f", "#ffffff"
_PANEL = 360
_ROW = 44
_LONGEST_NAME = 24


def labels(names: Sequence[str]) -> dict[str, str]:
    """Name -> what the picture calls it: itself when the font can write it, else a number in brackets."""
    fit = [name for name in names if name.isascii() and name.isprintable() and len(name) <= _LONGEST_NAME]
    others = [name for name in names if name not in fit]
    return {name: name for name in fit} | {name: f"({i})" for i, name in enumerate(others, 1)}


def histograms(panels: Sequence[tuple[str, Sequence[Bin]]], axis: str) -> bytes:
    """One chart a panel, below each other: a title, bars from left to right, their labels and counts."""
    image, pen = _canvas(_MARGIN + len(panels) * _PANEL)
    for i, (title, bins) in enumerate(panels):
        _panel(pen, _MARGIN + i * _PANEL, title, bins, axis)
    return _png(image)


def _panel(pen: Any, top: int, title: str, bins: Sequence[Bin], axis: str) -> None:
    pen.text((_MARGIN, top), title, font=_font(_TITLE), fill=_INK)
    pen.text((_WIDTH - _MARGIN, top + 4), axis, font=_font(_TEXT), fill=_SOFT, anchor="ra")
    floor, roof = top + _PANEL - 70, top + 84
    most = max((count for _, count in bins), default=0) or 1
    step = (_WIDTH - 2 * _MARGIN) / max(len(bins), 1)
    width = min(step * 0.8, 120)
    pen.line((_MARGIN, floor, _WIDTH - _MARGIN, floor), fill=_SOFT, width=2)
    for i, (label, count) in enumerate(bins):
        middle = _MARGIN + (i + 0.5) * step
        height = round((floor - roof) * count / most)
        if count:
            pen.rectangle((middle - width / 2, floor - max(height, 2), middle + width / 2, floor - 1), fill=_BAR)
            shown = short(count)
            pen.text((middle, floor - max(height, 2) - 6), shown, font=_font(_TEXT), fill=_INK, anchor="ms")
        pen.text((middle, floor + 10), label, font=_font(_TEXT), fill=_INK, anchor="ma")


def steps(title: str, rows: Sequence[tuple[str, int]]) -> bytes:
    """A bar from left to right for each row, the longest over the whole width."""
    image, pen = _canvas(2 * _MARGIN + 56 + len(rows) * _ROW)
    pen.text((_MARGIN, _MARGIN), title, font=_font(_TITLE), fill=_INK)
    left = _MARGIN + max((pen.textlength(name, font=_font(_TEXT)) for name, _ in rows), default=0) + 20
    most = max((count for _, count in rows), default=0) or 1
    room = _WIDTH - _MARGIN - 130 - left
    for i, (name, count) in enumerate(rows):
        top = _MARGIN + 56 + i * _ROW
        end = left + max(room * count / most, 2)
        pen.text((left - 20, top + _ROW / 2), name, font=_font(_TEXT), fill=_INK, anchor="rm")
        pen.rectangle((left, top + 6, end, top + _ROW - 6), fill=_BAR)
        pen.text((end + 10, top + _ROW / 2), f"{count:,}", font=_font(_TEXT), fill=_INK, anchor="lm")
    return _png(image)


def _canvas(height: int) -> tuple[Any, Any]:
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (_WIDTH, height), _PAPER)
    return image, ImageDraw.Draw(image)


def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _png(image: Any) -> bytes:
    # Few colours: a palette makes the file a fifth as large.
    sink = io.BytesIO()
    image.quantize(32).save(sink, "PNG", optimize=True)
    return sink.getvalue()
