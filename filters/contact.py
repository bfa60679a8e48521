"""Secrets and personal data anywhere in a record."""

from functools import partial

import polars as pl

from filters.check import Check
from filters.personal import KINDS, first


def contact(
    email: bool = True,
    phone: bool = True,
    key: bool = True,
    id_number: bool = True,
    card: bool = True,
    account: bool = True,
    ip: bool = True,
) -> tuple[Check, ...]:
    """Object to secrets and personal data anywhere in the record; the fixes `mask-...` mask the same ones instead.

    Identity, card and account numbers count only with a right check digit, addresses of machines only when they are
    public. What plainly stands for any (example.com, 555-0100, 123-456-7890, the test cards of handbooks) is not
    counted. Letters and forms are full of invented addresses and numbers that are not so plain, so cleaning by default
    leaves e-mail addresses, telephone numbers and addresses of machines alone.

    Args:
        email: look for e-mail addresses.
        phone: look for Chinese, North American and +-prefixed telephone numbers.
        key: look for API keys, private keys and tokens.
        id_number: look for Chinese identity numbers and US social security numbers.
        card: look for payment cards.
        account: look for international bank account numbers.
        ip: look for public IP addresses, both versions.
    """
    wanted = {
        "email-address": email,
        "phone-number": phone,
        "secret-key": key,
        "id-number": id_number,
        "card-number": card,
        "account-number": account,
        "ip-address": ip,
    }
    return tuple(_check(reason) for reason, looked_for in wanted.items() if looked_for)


def _check(reason: str) -> Check:
    found = pl.col("text").map_elements(partial(first, kind=KINDS[reason]), return_dtype=pl.String)
    gate = pl.col("text").str.contains(KINDS[reason].gate)
    return Check(reason=reason, field="text", when=found.is_not_null(), value=found, gate=gate, scope="record")
