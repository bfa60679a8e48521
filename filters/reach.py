"""Ways to reach or impersonate someone: e-mail addresses, telephone numbers, secret keys."""

import re

from filters.check import any_of

EMAIL = re.compile(
    r"(?i)(?<![a-z0-9._%+\-])[a-z0-9][a-z0-9._%+\-]*@[a-z0-9][a-z0-9\-]*(?:\.[a-z0-9\-]+)*\.[a-z]{2,18}(?![a-z0-9])"
)
_MADE_UP_EMAIL = re.compile(
    r"(?i)^(?:git@.*|[^@]*@(?:[a-z0-9\-]+\.)*(?:example|examples|test|domain|yourdomain|your-?company|\w*company\w*|email|"
    r"mail|mydomain|website|yourwebsite|site|abc|xyz|xxx|acme|sample|anything|localhost|invalid)\.[a-z.]{2,12}|"
    r"(?:your|name|user|username|example|test|john\.?doe|jane\.?doe|johnsmith|john\.smith|xxx|someone|foo|bar|noreply|no-reply|"
    r"sender|receiver|recipient|my_\w+)[\w.]*@.*)$"
)
"""Addresses that stand for any address (RFC 2606 names and their kin)."""

PHONE = re.compile(
    r"(?<![\d.\-/+])"
    + any_of(
        r"(?:\+?86[- ]?)?1[3-9]\d{9}(?!\d)",
        r"1[3-9]\d[- ]\d{4}[- ]\d{4}(?!\d)",
        r"0\d{2,3}-\d{7,8}(?!\d)",
        r"(?:\+?1[-. ]?)?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[-.])[2-9]\d{2}[-. ]\d{4}(?![\d\-])",
        r"\+(?:4[0-9]|3[0-9]|5[1-8]|6[0-6]|7|8[1-4]|9[0-8])[ \-]?\(?\d{1,4}\)?(?:[ \-]?\d{2,4}){2,4}(?!\d)",
    )
)
"""Chinese mobile and fixed lines, North American numbers, and what begins with + and a country."""
_MADE_UP_PHONE = re.compile(
    any_of(
        r"\(?555\)?[-. ]\d{3}[-. ]\d{4}",
        r"\(?\d{3}\)?[-. ]?555[-. ]\d{4}",
        r"\(?123\)?[-. ]?456[-. ]?7890",
        r"123[- ]?4567[- ]?8901|1234567890\d?",
        r"(\d)\1{6}|(\d)\2\2[-. ](\d)\3{2,3}[-. ](\d)\4{3}",
        r"1[3-9]\d0{8}|138[ -]?0013[ -]?8000|13[0-9]12345678|987[- .]654[- .]3210|098[- .]765[- .]4321|"
        r"[23]45[- .]678[- .]9012?",
        r"234[- .]567[- .]8901",
    )
)

KEY = re.compile(
    r"(?<![A-Za-z0-9_\-])"
    + any_of(
        r"sk-(?:proj-|ant-[a-z0-9]+-)?[A-Za-z0-9_\-]{32,}",
        r"(?:AKIA|ASIA)[0-9A-Z]{16}(?![0-9A-Za-z])",
        r"gh[pousr]_[A-Za-z0-9]{36,}",
        r"github_pat_[A-Za-z0-9_]{60,}",
        r"glpat-[A-Za-z0-9_\-]{20}",
        r"hf_[A-Za-z]{34}(?![0-9A-Za-z])",
        r"xox[abprs]-\d{8,}-[A-Za-z0-9\-]{10,}",
        r"AIza[0-9A-Za-z_\-]{35}",
        r"[sr]k_live_[0-9A-Za-z]{24,}",
        r"npm_[A-Za-z0-9]{36}(?![0-9A-Za-z])",
        r"eyJ[A-Za-z0-9_\-]{15,}\.eyJ[A-Za-z0-9_\-]{15,}\.[A-Za-z0-9_\-]{20,}",
    )
    + r"|-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----\s+[A-Za-z0-9+/=\s]{40,}(?:-----END (?:[A-Z]+ )*PRIVATE KEY-----)?"
)
"""Shapes that providers gave their keys, and JSON web tokens. Never \\b before them: between a Chinese character and a
letter there is none."""
_MADE_UP_KEY = re.compile(
    r"(?i)^AKIAIOSFODNN7EXAMPLE|^(?:sk-|ghp_|hf_)(?:proj-)?(?:x{8,}|your|example|\*+|\.+|(.)\1{15,})"
)


def real_email(text: str) -> bool:
    """Whether an address does not plainly stand for any."""
    return not _MADE_UP_EMAIL.match(text)


def real_phone(text: str) -> bool:
    """Whether a number does not plainly stand for any."""
    return not _MADE_UP_PHONE.search(text)


def real_key(text: str) -> bool:
    """Whether a key does not plainly stand for any."""
    return not _MADE_UP_KEY.match(text)
