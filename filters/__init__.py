"""What we judge and mend: pure rules over columns, no I/O, no model call.

A rule is a function from its settings to checks; adding one is adding a function and a line to FILTERS.
"""

from collections.abc import Callable, Mapping

from filters.alpaca import alpaca
from filters.check import Check
from filters.contact import contact
from filters.echo import echo
from filters.empty import empty
from filters.ending import ending
from filters.fixes import FIXES, Fix
from filters.language import language
from filters.leakage import leakage
from filters.length import length
from filters.merged import merged
from filters.missing import missing
from filters.placeholder import placeholder
from filters.refusal import refusal
from filters.repetition import repetition
from filters.roles import roles

Setting = int | float | bool | str | tuple[str, ...] | None
"""A value of a rule's setting, as it comes from JSON or YAML."""

FILTERS: dict[str, Callable[..., tuple[Check, ...]]] = {
    "roles": roles,
    "empty": empty,
    "placeholder": placeholder,
    "merged": merged,
    "leakage": leakage,
    "echo": echo,
    "missing": missing,
    "refusal": refusal,
    "repetition": repetition,
    "ending": ending,
    "length": length,
    "language": language,
    "contact": contact,
    "alpaca": alpaca,
}
"""Name -> rule: a function whose keyword arguments are the rule's settings."""

PRESETS: dict[str, Mapping[str, Mapping[str, Setting]]] = {
    "clean": {
        "roles": {},
        "empty": {},
        "placeholder": {},
        "merged": {},
        "leakage": {},
        "echo": {},
        "missing": {},
        "refusal": {},
        "repetition": {},
        "ending": {},
        "length": {},
        "contact": {"email": False, "phone": False},
    },
    "alpaca": {"alpaca": {}},
}
"""Name -> rules with their settings, in order: `clean` for data that exists, precision first; `alpaca` for generated
English instructions."""

__all__ = ["FILTERS", "FIXES", "PRESETS", "Check", "Fix", "Setting"]
