"""Whether a translation kept the numbers: by value, whatever the separators, numerals or scale words are."""

import re
import unicodedata
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

SPELT = 13
"""Whole numbers below this are often written as words (`three`, `a dozen`); they are not compared."""

SPELT_ELSEWHERE = 100
"""The same for languages whose number words we do not read."""

_READ = ("en", "zh", "ja")

_RUN = re.compile(r"\d+(?:[.,'’]\d+|[ \u00a0\u202f]\d{3}(?!\d))*")
_THOUSANDS = re.compile(r"\d{1,3}(?:[,'’. \u00a0\u202f]\d{3})+(?:[.,]\d+)?")
_SCALES = {
    **dict.fromkeys(("hundred", "百"), 2),
    **dict.fromkeys(("thousand", "k", "千"), 3),
    **dict.fromkeys(("万", "萬", "만"), 4),
    **dict.fromkeys(("million", "mn", "m", "百万", "百萬", "백만"), 6),
    **dict.fromkeys(("千万", "千萬", "천만"), 7),
    **dict.fromkeys(("亿", "億", "억"), 8),
    **dict.fromkeys(("billion", "bn", "b", "十亿", "十億"), 9),
    **dict.fromkeys(("百亿", "百億"), 10),
    **dict.fromkeys(("trillion", "万亿", "萬億", "兆", "조"), 12),
}
_SCALE = re.compile(
    r"[\s-]?(?:(?P<word>hundred|thousand|million|billion|trillion|mn|bn|[kmb])\b"
    r"|(?P<sign>[万萬][亿億]|[百千十][万萬]|[百十][亿億]|백만|천만|[百千万萬亿億兆만억조]))",
    re.IGNORECASE,
)
_HOUR = re.compile(r":\d\d(?!\d)|\s?(?:Uhr\b|heures?\b|horas?\b|h(?![a-z]))|\s?[点點时時시]")
_DECADE = re.compile(r"['’]?s\b|\s?年代")

_HAN_DIGITS = {c: i for i, c in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2, "兩": 2}
_HAN_UNITS = {"十": 10, "百": 100, "千": 1000}
_HAN_SECTIONS = {"万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8}
_HAN_NUMERAL = re.compile(r"[零〇一二三四五六七八九两兩十百千万萬亿億]{1,24}")

_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_WORDS = {word: i for i, word in enumerate(_SMALL.split())} | {word: 10 * i for i, word in enumerate(_TENS.split(), 2)}
_WORD_SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9}
_ANY_WORD = "|".join([*_WORDS, *_WORD_SCALES])
_WORD_NUMERAL = re.compile(rf"\b(?:{_ANY_WORD})(?:(?:[\s-]+|\s+and\s+)(?:{_ANY_WORD})){{0,12}}\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Number:
    """A number written in digits.

    Attributes:
        written: as it stands in the text.
        keys: what it can be found by: its value (`=1500000`) and its digits (`15`; `~15` before a scale word).
        pieces: keys of each part, when it may be a list such as `12,75` instead of one number.
        plain: its value when it is a whole number without scale, else None.
    """

    written: str
    keys: tuple[str, ...]
    pieces: tuple[str, ...] = ()
    plain: int | None = None

    @property
    def sought(self) -> tuple[str, ...]:
        """What to look for in a translation: `15 Millionen` may become `15 million`, whose scale word we know."""
        return tuple(key.lstrip("~") for key in self.keys) + tuple(f"~{key}" for key in self.keys if key.isdigit())


def lost_numbers(source: str, translation: str, language: str) -> tuple[str, ...]:
    """The source's numbers, as written there, that the translation into `language` does not have (often enough).

    The rule: every number that the source writes in digits must stand in the translation as often, as the same value
    (`1.5 million` = `150万` = `1,500,000`), as the same digits with other separators (`1.234,5`), or in English or
    Chinese words. Whole numbers below SPELT are not compared, nor below SPELT_ELSEWHERE in languages whose number words
    we do not read; `the 1990s` may become `90年代` and `17:00` 5 o'clock. More numbers in the translation are no fault:
    `May` becomes `5月`.
    """
    least = SPELT if language.split("-")[0] in _READ else SPELT_ELSEWHERE
    places: dict[str, deque[int]] = {}
    for at, keys in enumerate(_keys_of(translation)):
        for key in dict.fromkeys(keys):
            places.setdefault(key, deque()).append(at)
    used: set[int] = set()

    def take(key: str) -> bool:
        """Whether a number that nobody has taken yet goes by this key; it is taken now."""
        free = places.get(key, deque())
        while free and free[0] in used:
            free.popleft()
        if free:
            used.add(free.popleft())
            return True
        return False

    lost = []
    for number in numbers(source):
        if number.plain is not None and number.plain < least:
            continue
        if any(take(key) for key in number.sought):
            continue
        if not number.pieces or not all(take(piece) for piece in number.pieces if int(piece[:9]) >= least):
            lost.append(number.written)
    return tuple(lost)


def numbers(text: str) -> Iterator[Number]:
    """The numbers that a text writes in digits, of any script."""
    text = _plain_digits(text)
    for match in _RUN.finditer(text):
        run = match[0]
        value, digits = _value(run), _digits(run)
        parts = tuple(_digits(part) for part in re.split(r"\D+", run))
        scale = _SCALE.match(text, match.end())
        power = _SCALES[(scale["word"] or scale["sign"]).lower()] if scale else 0
        keys = [f"={value.scaleb(power).normalize():f}", f"~{digits}" if power else digits]
        if _DECADE.match(text, match.end()) and run.isdigit() and len(run) == 4:
            keys += [run[2:], str(int(run[:2]) + 1)] if run.endswith("00") else [run[2:]]
        if len(run) == 2 and run.isdigit() and 12 < int(run) < 24 and _HOUR.match(text, match.end()):
            keys.append(str(int(run) - 12))
        # A number of thousands of digits is one that Python refuses to read; all that counts is that it is not small.
        plain = int(run[:9]) if run.isdigit() and not power else None
        yield Number(run, tuple(dict.fromkeys(keys)), parts if "," in run else (), plain)


def _keys_of(text: str) -> Iterator[tuple[str, ...]]:
    """Keys of every number in a translation, written in digits or words; every reading of an ambiguous one."""
    for number in numbers(text):
        yield number.keys
        yield from ((piece, f"={piece}") for piece in number.pieces)
    text = _plain_digits(text)
    for match in re.finditer(r"(?<![\d.])(?:\d+(?:\.\d+)?\s?[亿億万萬千百]\s?){1,3}\d*", text):
        total = sum(
            (
                Decimal(n) * 10 ** _SCALES.get(unit, 0)
                for n, unit in re.findall(r"(\d+(?:\.\d+)?)\s?([亿億万萬千百]?)", match[0])
            ),
            Decimal(0),
        )
        yield (f"={total.normalize():f}",)
    for match in _HAN_NUMERAL.finditer(text):
        value = _han_value(match[0])
        yield (str(value), f"={value}")
    for match in _WORD_NUMERAL.finditer(text):
        value = _word_value(match[0])
        yield (str(value), f"={value}")


def _plain_digits(text: str) -> str:
    """Decimal digits of any script as ASCII, and the full-width and Arabic separators with them."""
    text = "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in text)
    return text.translate({0xFF0E: ".", 0xFF0C: "，", 0x066B: ".", 0x066C: ","})


def _digits(run: str) -> str:
    return re.sub(r"\D", "", run).lstrip("0") or "0"


def _value(run: str) -> Decimal:
    """`1,234.5` and `1.234,5` as 1234.5; a lone separator parts thousands only if it is a comma before three digits."""
    if _THOUSANDS.fullmatch(run) and not re.fullmatch(r"\d+\.\d{3}", run):
        whole, tail = run, ""
        last = max(run.rfind("."), run.rfind(","))
        if last > 0 and (len(run) - last != 4 or run[last] not in run[:last]) and re.search(r"\D", run[:last]):
            whole, tail = run[:last], run[last + 1 :]
        return Decimal(re.sub(r"\D", "", whole) + (f".{tail}" if tail else ""))
    parts = re.split(r"\D", run)
    return Decimal(".".join(parts)) if len(parts) == 2 else Decimal("".join(parts))


def _han_value(text: str) -> int:
    """`一百二十` as 120, `二〇二一` as 2021, `两万` as 20000."""
    if not any(c in _HAN_UNITS or c in _HAN_SECTIONS for c in text):
        return int("".join(str(_HAN_DIGITS[c]) for c in text))
    total = section = digit = 0
    for c in text:
        if c in _HAN_DIGITS:
            digit = _HAN_DIGITS[c]
        elif c in _HAN_UNITS:
            section, digit = section + (digit or 1) * _HAN_UNITS[c], 0
        else:
            total, section, digit = (total + section + digit or 1) * _HAN_SECTIONS[c], 0, 0
    return total + section + digit


def _word_value(text: str) -> int:
    """`twenty-five` as 25, `two hundred and ten thousand` as 210000."""
    total = current = 0
    for word in re.findall(r"[a-z]+", text.lower()):
        if word in _WORDS:
            current += _WORDS[word]
        elif word == "hundred":
            current = (current or 1) * 100
        elif word in _WORD_SCALES:
            total, current = total + (current or 1) * _WORD_SCALES[word], 0
    return total + current
