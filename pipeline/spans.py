"""Protected spans: the pieces of a text that a translator must hand back exactly as they were."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from pipeline.code_lines import code_runs

SpanProblem = Literal["missing", "repeated", "unknown", "out of order"]

TOKEN = re.compile(r"⟦\s*(\d{1,6})\s*⟧")
"""What stands for a span while a model has the text; a model's extra spaces inside are forgiven."""

# Every repetition below is bounded or cannot be entered twice: a hostile text must not cost more than its length.
_FENCED = re.compile(r"^[ \t]*(?P<fence>`{3,}|~{3,}).*?(?:^[ \t]*(?P=fence)[`~]*[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)
_DISPLAY_MATH = re.compile(
    r"\$\$.{1,1500}?\$\$|\\\[.{1,1500}?\\\]|\\\(.{1,1500}?\\\)|"
    r"\\begin\{(?P<env>[a-zA-Z*]{1,30})\}.{0,4000}?\\end\{(?P=env)\}",
    re.DOTALL,
)
_INLINE_CODE = re.compile(r"```[^`]{1,4000}```|``[^\n]{1,500}?``|`[^`\n]{1,500}`")
_INLINE_MATH = re.compile(r"(?<![\\$\w])\$(?=[^\s$])(?P<math>[^$\n]{0,200}?[^\s$\\])\$(?![\d$])")
_LINK = re.compile(
    r"(?:https?|ftp)://[^\s<>\"'`（）「」『』【】《》，。；！？、]+|\bwww\.[\w-]+\.[^\s<>\"'`（）「」，。；！？、]+",
    re.I,
)
_EMAIL = re.compile(
    r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){0,6}\.[A-Za-z]{2,20}"
)
_REST = re.compile(
    r"""
      ⟦[^⟦⟧\n]{0,20}⟧ | [⟦⟧]                                   # our own marks, when the data has them
    | <[|｜][^<>\n]{1,60}[|｜]> | <</?[A-Z]{2,10}>> | \[/?INST\]   # marks of chat templates
    | <!--.{0,1500}?--> | </?[A-Za-z][\w:.-]*(?:\s[^<>\n]*)?/?>       # tags
    | \\[A-Za-z]+(?:\[[^\]\n]{0,100}\])?(?:\{[^{}\n]{0,500}\})+   # LaTeX commands outside of dollars
    | \{\{[^{}\n]{1,60}\}\} | \$\{[^{}\n]{1,60}\} | \{[A-Za-z_][\w.:\[\]-]{0,40}\} | \{\d*\}
    | %\([A-Za-z_]\w*\)[-+0\#]*\d*(?:\.\d+)?[sdifgexX] | (?<![\d%])%[-+0\#]*\d*(?:\.\d+)?[sdifgexX](?![A-Za-z])
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Protected:
    """A text whose spans are replaced by tokens, and the spans by number.

    Attributes:
        text: the text with `⟦n⟧` in each span's place.
        first: number of the first span.
        spans: the spans, in order.
        blocks: numbers of the spans that are whole lines (fenced code, displayed formulas): these keep their order.
    """

    text: str
    first: int
    spans: tuple[str, ...]
    blocks: frozenset[int]

    @property
    def is_opaque(self) -> bool:
        """Whether nothing is left to translate: no letter outside of the spans."""
        return not any(char.isalpha() for char in TOKEN.sub("", self.text))

    def problems(self, text: str) -> dict[SpanProblem, tuple[int, ...]]:
        """What is wrong with the tokens of a text that came back; empty when each stands there exactly once.

        Tokens within a line may change places, since languages order words differently; blocks may not.
        """
        found = [int(number) for number in TOKEN.findall(text)]
        counts, own = Counter(found), range(self.first, self.first + len(self.spans))
        in_order = [n for n in dict.fromkeys(found) if n in self.blocks]
        problems: dict[SpanProblem, tuple[int, ...]] = {
            "missing": tuple(n for n in own if n not in counts),
            "repeated": tuple(n for n in own if counts[n] > 1),
            "unknown": tuple(sorted(n for n in counts if n not in own)),
            "out of order": tuple(a for a, b in pairwise(in_order) if a > b),
        }
        return {problem: numbers for problem, numbers in problems.items() if numbers}

    def restore(self, text: str) -> str:
        """The text with the spans back in their places; tokens that are not ours stay as they are."""

        def span(match: re.Match[str]) -> str:
            at = int(match[1]) - self.first
            return self.spans[at] if 0 <= at < len(self.spans) else match[0]

        return TOKEN.sub(span, text)


def protect(text: str, first: int = 0) -> Protected:
    """Replace every protected span by a token, numbered from `first`.

    Protected are fenced and inline code, runs of lines that look like code, LaTeX, links, e-mail addresses, tags,
    placeholders (`{name}`, `{{name}}`, `${name}`, `%s`), the marks of chat templates, and our own tokens where the data
    has them. Numbers are not: grammar may ask for another form of them, so they are compared after translation.
    """
    taken: list[tuple[int, int, bool]] = []
    for matches, block in _finders(text):
        _take(taken, matches, block)
    parts: list[str] = []
    spans: list[str] = []
    blocks: set[int] = set()
    at = 0
    for start, end, block in _merged(text, sorted(taken)):
        if block:
            blocks.add(first + len(spans))
        parts += [text[at:start], f"⟦{first + len(spans)}⟧"]
        spans.append(text[start:end])
        at = end
    return Protected("".join(parts) + text[at:], first, tuple(spans), frozenset(blocks))


def _finders(text: str) -> Iterator[tuple[Iterable[tuple[int, int]], bool]]:
    """The ranges of each kind of span, and whether they are blocks; a kind gives way to those before it."""
    yield (m.span() for m in _FENCED.finditer(text)), True
    yield (m.span() for m in _DISPLAY_MATH.finditer(text)), True
    yield (m.span() for m in _INLINE_CODE.finditer(text)), False
    yield code_runs(text), True
    yield (m.span() for m in _INLINE_MATH.finditer(text) if _is_math(m["math"])), False
    yield ((m.start(), m.start() + len(_trimmed(m[0]))) for m in _LINK.finditer(text)), False
    yield (m.span() for m in _EMAIL.finditer(text)), False
    yield (m.span() for m in _REST.finditer(text)), False


def _take(taken: list[tuple[int, int, bool]], ranges: Iterable[tuple[int, int]], block: bool) -> None:
    """Add the ranges that overlap none of those taken; a block swallows the smaller spans inside of it."""
    earlier = sorted(taken)
    for start, end in ranges:
        inside = [t for t in earlier if t[0] < end and start < t[1]]
        if any(t[2] or t[0] < start or t[1] > end for t in inside) or (inside and not block) or start == end:
            continue
        for t in inside:
            taken.remove(t)
        taken.append((start, end, block))


def _merged(text: str, ranges: list[tuple[int, int, bool]]) -> Iterator[tuple[int, int, bool]]:
    """Inline spans that touch, or that only a line break parts, as one: fewer tokens for a model to carry."""
    current: tuple[int, int, bool] | None = None
    for start, end, block in ranges:
        if current and not block and not current[2]:
            gap = text[current[1] : start]
            if not gap or (gap.isspace() and "\n" in gap):
                current = (current[0], end, False)
                continue
        if current:
            yield current
        current = (start, end, block)
    if current:
        yield current


def _is_math(text: str) -> bool:
    """Dollars around a formula, rather than two prices."""
    return re.search(r"[\\^_{}]", text) is not None or re.search(r"[A-Za-z]{3}|[\u3400-\u9fff]", text) is None


def _trimmed(link: str) -> str:
    """A link without the punctuation of the sentence around it."""
    while link and (link[-1] in ".,;:!?*_~]}" or (link[-1] == ")" and link.count(")") > link.count("("))):
        link = link[:-1]
    return link
