"""Sums that are wrong."""

import re
from decimal import Decimal, DivisionByZero, InvalidOperation, localcontext

import polars as pl

from filters.check import Check

_NUMBER = r"(?:\d{1,3}(?:,\d{3})++|\d++)(?:\.\d++)?"
_MONEY = r"[$€£¥￥]?[ \t]?"
_TERM = rf"{_MONEY}{_NUMBER}"
_SIGN = r"[ \t]{0,3}[-+*/×x÷−–][ \t]{0,3}"
_RESULT = rf"[-−]?{_MONEY}{_NUMBER}"
# Possessive throughout: what a chain has taken it does not give back, so that no text takes more than linear time.
_CHAIN = re.compile(rf"{_NUMBER}(?:{_SIGN}{_TERM})++")
_EQUALS = re.compile(rf"[ \t]?=[ \t]?(?P<right>{_RESULT})")
_BEFORE = re.compile(
    r"(?:[-+*/×x÷−–^√%<>!)\]}:,.\w]|[-+*/×÷−–^√][ \t$€£¥￥]+|\b(?:log|sin|cos|tan|sqrt|mod|base|lim)[ \t]*)$"
)
_AFTER = re.compile(
    r"[ \t]*(?:[-+*/×÷−–^%√!(\[{]|\d|[.,]\d|x[ \t]?\d|\(?(?:mod|base|remainder|in binary)\b|的?余|R[ \t]?\d)|[a-zA-Z:]"
)
_EXPRESSION = re.compile(rf"^[^0-9]*?(?P<left>{_NUMBER}(?:{_SIGN}{_NUMBER})++)\s*(?:=\s*)?[?？.。]?\s*$")
_ANSWER = re.compile(
    rf"^(?:the (?:answer|result|sum|product|difference|value)[^\d\n]{{0,30}}? is |answer: ?|答案?[是为：:]+\s?|等于|"
    rf"结果[是为：:]+\s?)?"
    rf"(?P<right>[-−]?{_NUMBER})\s*[.。]?$",
    re.IGNORECASE,
)
_PERCENT = re.compile(
    rf"(?<![\d.])(?P<share>{_NUMBER})\s?% of (?P<whole>{_TERM}) (?:is|=|equals) (?P<right>{_RESULT})(?![\d,.]*[\d%])",
    re.IGNORECASE,
)

_NOT_DECIMAL = (
    r"(?i)binary|hexadecimal|octal|\bbase[ -]?\d|\bclock\b|\bmod(?:ulo|ular)?\b|integer division|\briddle|\bjoke|"
    r"matchstick|"
    r"二进制|八进制|十六进制|进制|取模|取余|余数|时钟|谜|脑筋急转弯|笑话"
)
"""Questions and answers in which signs mean something else."""

_NOT_EXACT = re.compile(r"(?i)estimat|approximat|round|约|估")
_CALCULATE = re.compile(
    r"(?i)calculat|comput|evaluat|equation|expression|arithmetic|math|solve|subtract|difference|result|计算|算式|等于|求|减"
)

_DENIED = re.compile(
    r"(?i)\b(?:not|isn't|false|wrong|incorrect|never|untrue|why)\b|≠|不等于|不是|错误|不对|并非|为什么|不正确|假"
)
_AGREED = re.compile(r"(?i)\b(?:true|correct|right|yes)\b|(?<!不)(?<!不是)(?:正确|没错|对的)")


def arithmetic(questions: bool = True) -> tuple[Check, ...]:
    """Object to a stated sum, product, difference, quotient or percentage that does not come out.

    Only plain decimal numbers are checked: "12 * 3 = 35", "15% of 80 is 14", and a bare number that answers a bare
    expression. Results may be rounded or cut to the digits they show. Left alone are equations with letters, powers or
    brackets, other bases, clocks, remainders, chains of steps ("3 + 4 = 7 + 5"), code, and statements that are denied.

    Args:
        questions: check the answer to a bare expression as well.
    """
    output = pl.col("output")
    plain = ~(
        pl.concat_str("instruction", "input", "output", separator="\n").str.contains(_NOT_DECIMAL)
        | output.str.contains(r"```|[{};]\s*\n|print\(|assert|==")
    )
    stated = output.str.contains(r"\d\s?=\s?[-−$€£¥￥]?\s?\d|% of .*\d")
    checks = [_check(output.map_elements(wrong_sum, return_dtype=pl.String), plain, stated)]
    if questions:
        bare = output.str.contains(r"^[^\d\n]{0,60}[-−]?\d[\d,.]*\s*[.。]?$") & ~output.str.contains("=", literal=True)
        asked = pl.struct("instruction", "input", "output")
        expression = pl.concat_str("instruction", "input", separator="\n").str.contains(r"\d\s*[-+*/×x÷−–]\s*\d")
        answer = asked.map_elements(_wrong_answer, return_dtype=pl.String)
        checks.append(_check(answer, expression & plain, bare))
    return tuple(checks)


def _check(found: pl.Expr, given: pl.Expr, gate: pl.Expr) -> Check:
    return Check(reason="wrong-arithmetic", field="output", when=given & found.is_not_null(), value=found, gate=gate)


def wrong_sum(text: str) -> str | None:
    """The first statement of the text that does not come out, or None."""
    for chain in _CHAIN.finditer(text):
        stated = _EQUALS.match(text, chain.end())
        if stated is None or _BEFORE.search(text, max(0, chain.start() - 8), chain.start()):
            continue
        if _AFTER.match(text, stated.end()) or _denied(text, chain.start(), stated.end()):
            continue
        if not _comes_out(chain[0], stated["right"]):
            return text[chain.start() : stated.end()]
    for found in _PERCENT.finditer(text):
        value = f"{found['share']}*{found['whole']}/100"
        if not _denied(text, *found.span()) and not _comes_out(value, found["right"]):
            return found[0]
    return None


def _wrong_answer(row: dict[str, str]) -> str | None:
    """The expression and the number that answers it, where it is the wrong one."""
    asked = row["input"] or row["instruction"].strip().rpartition("\n")[2]
    expression = _EXPRESSION.match(asked)
    answer = _ANSWER.match(row["output"].strip())
    if expression is None or answer is None or _NOT_EXACT.search(row["instruction"]):
        return None
    if re.search(r"\d-\d", expression["left"]) and not _CALCULATE.search(row["instruction"]):
        return None  # "pick a number, 1-75"
    if _comes_out(expression["left"], answer["right"]):
        return None
    return f"{expression['left']} = {answer['right']}"


def _denied(text: str, begin: int, end: int) -> bool:
    """Whether the sentence around a statement says that it is wrong, and does not say that it is right."""
    first = max(text.rfind(mark, max(0, begin - 200), begin) for mark in ("\n", ". ", "。", "？", "?")) + 1
    ends = [at for mark in ("\n", ". ", "。") if (at := text.find(mark, end, end + 200)) >= 0]
    sentence = text[max(first, begin - 200) : min(ends, default=end + 200)]
    return bool(_DENIED.search(sentence)) and not _AGREED.search(sentence)


def _comes_out(left: str, right: str) -> bool:
    """Whether the value of `left` is what `right` shows, exactly, rounded or cut to its digits; True when in doubt."""
    shown = _number(right)
    value = _value(left)
    if value is None:
        return True
    digits = max(0, -int(shown.as_tuple().exponent))
    unit = Decimal(1).scaleb(-digits)
    if abs(value - shown) < unit and (digits or "/" in left or "÷" in left or "." in left):
        return True
    close = Decimal("5e-4") if "." in left or "/" in left or "÷" in left else Decimal(0)
    return abs(value - shown) <= close * abs(value)


def _number(text: str) -> Decimal:
    return Decimal(re.sub(r"[^\d.\-−]", "", text).replace("−", "-").rstrip("."))


def _value(expression: str) -> Decimal | None:
    """The value of numbers joined by + - * /, products first; None where it divides by zero."""
    pieces = re.findall(rf"{_NUMBER}|[-+*/×x÷−–]", expression)
    with localcontext() as context:
        context.prec = 40
        total, product = Decimal(0), _number(pieces[0])
        try:
            for sign, piece in zip(pieces[1::2], pieces[2::2], strict=True):
                number = _number(piece)
                if sign in "*×x":
                    product *= number
                elif sign in "/÷":
                    product /= number
                else:
                    total, product = total + product, number if sign == "+" else -number
        except (DivisionByZero, InvalidOperation, ValueError):
            return None
        return total + product
