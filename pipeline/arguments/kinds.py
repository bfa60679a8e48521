"""Kinds of argument values: a text to a checked value, or the sentence that argparse shows."""

import argparse
import re
import time
from datetime import UTC, datetime


def positive(text: str) -> int:
    """A whole number of 1 or more."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


def count(text: str) -> int:
    """A whole number of 0 or more."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("must be 0 or more")
    return value


def moment(text: str) -> float:
    """Seconds since 1970 of a span that ends now, or of a date."""
    span = re.fullmatch(r"(\d+(?:\.\d+)?)([mhd])", text)
    if span is not None:
        return time.time() - float(span[1]) * {"m": 60, "h": 3600, "d": 86_400}[span[2]]
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError("must be a span such as 30m, 2h or 7d, or a date such as 2026-07-01") from None
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()


def days(text: str) -> float:
    """A number of days, 0 or more."""
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError("must be a number of days, 0 or more")
    return value


def budget(text: str) -> str:
    """US dollars, as a setting."""
    value = float(text.removeprefix("$"))
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError("must be US dollars, 0 or more")
    return f"budget_usd={value!r}"


def paid(text: str) -> str | float:
    """`none`, `all`, or US dollars."""
    if text in ("none", "all"):
        return text
    value = float(text.removeprefix("$"))
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError("must be none, all or US dollars")
    return value


def share(text: str) -> float:
    """A share above 0 and below 1."""
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError("must be above 0 and below 1, such as 0.9")
    return value


def names(text: str) -> list[str]:
    """Names with commas between them."""
    found = [name.strip() for name in text.split(",") if name.strip()]
    if not found:
        raise argparse.ArgumentTypeError(f"'{text}' names nothing")
    return found
