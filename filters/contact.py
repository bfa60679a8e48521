"""Ways to reach or impersonate someone: e-mail addresses, phone numbers, secret keys."""

import polars as pl

from filters.check import Check, any_of

EMAIL = r"(?i)\b[a-z0-9][a-z0-9._%+\-]*@[a-z0-9][a-z0-9\-]*(?:\.[a-z0-9\-]+)*\.[a-z]{2,18}\b"

MADE_UP_EMAIL = (
    r"(?i)[a-z0-9._%+\-]*@(?:[a-z0-9\-]+\.)*(?:example|examples|test|domain|yourdomain|your-?company|company\w*|email|mail|mydomain|"
    r"website|yourwebsite|site|abc|xyz|xxx|acme|sample|anything|localhost|invalid)\.[a-z.]{2,12}|"
    r"\b(?:your|name|user|username|example|test|john\.?doe|jane\.?doe|johnsmith|john\.smith|xxx|someone|foo|bar|noreply|no-reply|git)"
    r"[\w.]*@[a-z0-9.\-]+"
)
"""Addresses that stand for any address (RFC 2606 names and their kin)."""

PHONE = any_of(
    r"(?:^|[^\d.\-/])(?:\+?86[- ]?)?1[3-9]\d{9}(?:[^\d]|$)",
    r"(?:^|[^\d.\-/])1[3-9]\d[- ]\d{4}[- ]\d{4}(?:[^\d]|$)",
    r"(?:^|[^\d.\-/])0\d{2,3}-\d{7,8}(?:[^\d]|$)",
    r"(?:^|[^\d.\-/])(?:\+?1[-. ]?)?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[-.])[2-9]\d{2}[-. ]\d{4}(?:[^\d\-]|$)",
    r"\+(?:4[0-9]|3[0-9]|5[1-8]|6[0-6]|7|8[1-4]|9[0-8])[ \-]?\(?\d{1,4}\)?(?:[ \-]?\d{2,4}){2,4}\b",
)
MADE_UP_PHONE = any_of(
    r"\(?555\)?[-. ]\d{3}[-. ]\d{4}",
    r"\(?\d{3}\)?[-. ]?555[-. ]\d{4}",
    r"\(?123\)?[-. ]?456[-. ]?7890",
    r"123[- ]?4567[- ]?8901|1234567890\d?",
    r"1[3-9]\d0{8}|138[ -]?0013[ -]?8000|13[0-9]12345678|1[3-9]\d[xX*]{4,8}\d*",
)

SECRET = any_of(
    r"\bsk-(?:proj-|ant-[a-z0-9]+-)?[A-Za-z0-9_\-]{32,}",
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    r"\bgh[pousr]_[A-Za-z0-9]{36,}\b",
    r"\bgithub_pat_[A-Za-z0-9_]{60,}",
    r"\bglpat-[A-Za-z0-9_\-]{20}\b",
    r"\bhf_[A-Za-z]{34}\b",
    r"\bxox[abprs]-\d{8,}-[A-Za-z0-9\-]{10,}",
    r"\bAIza[0-9A-Za-z_\-]{35}\b",
    r"\b[sr]k_live_[0-9A-Za-z]{24,}\b",
    r"\bnpm_[A-Za-z0-9]{36}\b",
    r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----\s+[A-Za-z0-9+/=]{40,}",
    r"\beyJ[A-Za-z0-9_\-]{15,}\.eyJ[A-Za-z0-9_\-]{15,}\.[A-Za-z0-9_\-]{20,}",
)
"""Shapes that providers gave their keys, and JSON web tokens."""

MADE_UP_SECRET = r"AKIAIOSFODNN7EXAMPLE|(?i)\b(?:sk-|ghp_|hf_)(?:x{8,}|your|example|\*+|\.+)[\w\-]*"


def _left(pattern: str, made_up: str) -> pl.Expr:
    return pl.col("text").str.replace_all(made_up, " ").str.extract(pattern, 0)


def contact(email: bool = True, phone: bool = True, key: bool = True) -> tuple[Check, ...]:
    """Object to e-mail addresses, phone numbers and secret keys anywhere in the record.

    Addresses and numbers that plainly stand for any (example.com, 555-0100, 123-456-7890) are not counted. Letters and
    forms are full of invented ones that are not so plain, so cleaning by default looks for keys only.

    Args:
        email: look for e-mail addresses.
        phone: look for Chinese, North American and +-prefixed phone numbers.
        key: look for API keys, private keys and tokens.
    """
    looked_for = (
        (email, "email-address", EMAIL, MADE_UP_EMAIL),
        (phone, "phone-number", PHONE, MADE_UP_PHONE),
        (key, "secret-key", SECRET, MADE_UP_SECRET),
    )
    return tuple(
        Check(
            reason=reason,
            field="text",
            when=_left(pattern, made_up).is_not_null(),
            value=_left(pattern, made_up).str.strip_chars(" .,;:()\n"),
            scope="record",
        )
        for wanted, reason, pattern, made_up in looked_for
        if wanted
    )
