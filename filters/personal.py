"""Secrets and personal data by kind: how each is found, and how it is masked."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import polars as pl

from filters import identity, reach


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of secret or personal data.

    Attributes:
        gate: what a text that holds one surely matches (Rust syntax).
        shapes: what one looks like, each with what makes it more than a shape.
        mask: what stands in its place.
    """

    gate: str
    shapes: tuple[tuple[re.Pattern[str], Callable[[str], bool]], ...]
    mask: str


KINDS: dict[str, Kind] = {
    "email-address": Kind(r"@[A-Za-z0-9]", ((reach.EMAIL, reach.real_email),), "<EMAIL>"),
    "phone-number": Kind(r"\d{4}(?:\D|$)|\d{11}|\+\d", ((reach.PHONE, reach.real_phone),), "<PHONE>"),
    "secret-key": Kind(
        r"sk-|AKIA|ASIA|gh[pousr]_|github_pat_|glpat-|hf_|xox[abprs]-|AIza|[sr]k_live_|npm_|eyJ|PRIVATE KEY",
        ((reach.KEY, reach.real_key),),
        "<KEY>",
    ),
    "id-number": Kind(
        r"\d{17}[\dXx]|\d{3}-\d{2}-\d{4}",
        ((identity.CITIZEN, identity.citizen_number), (identity.SOCIAL, identity.social_number)),
        "<ID-NUMBER>",
    ),
    "card-number": Kind(r"(?:\d[ -]?){13}", ((identity.CARD, identity.card_number),), "<CARD-NUMBER>"),
    "account-number": Kind(
        r"[A-Z]{2}\d{2} ?[A-Z0-9]{4} ?[A-Z0-9]{4}", ((identity.ACCOUNT, identity.account_number),), "<ACCOUNT-NUMBER>"
    ),
    "ip-address": Kind(
        r"(?:\d{1,3}\.){3}\d|(?:[0-9A-Fa-f]{1,4}:){2}",
        ((identity.ADDRESS_4, identity.public_address), (identity.ADDRESS_6, identity.public_address)),
        "<IP-ADDRESS>",
    ),
}
"""Reason -> kind."""


def first(text: str, kind: Kind) -> str | None:
    """The first one of the kind in a text, or None."""
    for pattern, holds in kind.shapes:
        for match in pattern.finditer(text):
            if holds(match[0]):
                return match[0]
    return None


def masked(text: str, kind: Kind) -> str:
    """The text with every one of the kind replaced by its mask."""

    def mask(match: re.Match[str], holds: Callable[[str], bool]) -> str:
        return kind.mask if holds(match[0]) else match[0]

    for pattern, holds in kind.shapes:
        text = pattern.sub(partial(mask, holds=holds), text)
    return text


def mask(reason: str) -> Callable[[pl.Expr], pl.Expr]:
    """A mending that masks one kind of secret or personal data."""
    kind = KINDS[reason]

    def mend(text: pl.Expr) -> pl.Expr:
        held = pl.when(text.str.contains(kind.gate)).then(text)
        return pl.coalesce(held.map_elements(partial(masked, kind=kind), return_dtype=pl.String), text)

    return mend
