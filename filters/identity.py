"""Numbers that name a person, an account or a machine, told from other numbers by their check digits."""

import ipaddress
import re
from datetime import date

CITIZEN = re.compile(
    r"(?<![\dA-Za-z])[1-9]\d{5}(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[\dXx](?![\dA-Za-z])"
)
SOCIAL = re.compile(r"(?<![\d.\-])(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d\-]|\.\d)")
CARD = re.compile(r"(?<![\d.\-])(?:\d[ -]?){12,18}\d(?![\d\-]|\.\d)")
ACCOUNT = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?(?![A-Za-z0-9])")
ADDRESS_4 = re.compile(r"(?<![\w.\-/])(?:\d{1,3}\.){3}\d{1,3}(?![\w\-]|\.\d)")
ADDRESS_6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{1,4}+:){1,7}(?::?[0-9A-Fa-f]{1,4}+){1,7}+(?![\w:])")

_MADE_UP_CARDS = ("4111111111111111", "4242424242424242", "5555555555554444", "378282246310005", "4012888888881881")
"""Test numbers of payment providers' handbooks."""
_MADE_UP_SOCIAL = ("123-45-6789", "987-65-4321", "078-05-1120", "111-22-3333")
_ISSUERS = re.compile(r"4|5[1-5]|2[2-7]|3[47]|35|36|6011|64|65|62|60|81")
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


def citizen_number(text: str) -> bool:
    """Whether these 18 characters are a Chinese identity number: a real birthday and a right check digit (GB 11643)."""
    try:
        born = date(int(text[6:10]), int(text[10:12]), int(text[12:14]))
    except ValueError:
        return False
    check = "10X98765432"[sum(int(d) * w for d, w in zip(text, _WEIGHTS, strict=False)) % 11]
    return born.year >= 1900 and text[17].upper() == check and 11 <= int(text[:2]) <= 82


def social_number(text: str) -> bool:
    """Whether it is a US social security number and none that advertisements and handbooks use."""
    return text not in _MADE_UP_SOCIAL


def card_number(text: str) -> bool:
    """Whether it is a payment card: a known issuer, 13 to 19 digits, a right check digit (Luhn), not a test number."""
    digits = re.sub(r"\D", "", text)
    if not 13 <= len(digits) <= 19 or not _ISSUERS.match(digits) or digits in _MADE_UP_CARDS or len(set(digits)) < 4:
        return False
    if not re.fullmatch(r"\d+|(?:\d{4}[ -]){3}\d{1,4}(?:[ -]\d{1,4})?|\d{4}[ -]\d{6}[ -]\d{5}|\d{6} \d{13}", text):
        return False
    doubled = [int(d) if at % 2 == 0 else sum(divmod(int(d) * 2, 10)) for at, d in enumerate(reversed(digits))]
    return sum(doubled) % 10 == 0


def account_number(text: str) -> bool:
    """Whether it is an international bank account number with a right check (ISO 13616)."""
    packed = text.replace(" ", "")
    if not 15 <= len(packed) <= 34:
        return False
    return int("".join(str(int(c, 36)) for c in packed[4:] + packed[:4])) % 97 == 1


def public_address(text: str) -> bool:
    """Whether it is an address of the public internet, neither private nor kept for documentation or masks."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if address.version == 4:
        octets = [int(part) for part in text.split(".")]
        return address.is_global and not address.is_multicast and octets[0] >= 11 and max(octets[1:]) > 9
    return address.is_global
