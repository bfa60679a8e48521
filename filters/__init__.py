"""What we judge and mend: pure rules over columns, no I/O, no model call.

A rule is a function from its settings to checks; adding one is adding a function and a line to FILTERS.
"""

from collections.abc import Callable, Mapping

from filters.alpaca import alpaca
from filters.arithmetic import arithmetic
from filters.belle import belle
from filters.check import Check
from filters.contact import contact
from filters.echo import echo
from filters.empty import empty
from filters.ending import ending
from filters.fixes import DEFAULT_FIXES, FIXES, Fix
from filters.flagged import flagged
from filters.language import language
from filters.leakage import leakage
from filters.length import length
from filters.merged import merged
from filters.missing import missing
from filters.numbering import numbering
from filters.placeholder import placeholder
from filters.provider import provider_error, vendor
from filters.published import ALPACA_COT, BELLE, DATA_JUICER, FLAGDATA, GOPHER, SHAREGPT
from filters.refusal import refusal
from filters.repetition import repetition
from filters.roles import roles
from filters.setting import Setting
from filters.statistics import statistics

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
    "provider-error": provider_error,
    "numbering": numbering,
    "arithmetic": arithmetic,
    "statistics": statistics,
    "flagged": flagged,
    "vendor": vendor,
    "belle": belle,
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
        "contact": {"email": False, "phone": False, "ip": False},
        "provider-error": {},
        "numbering": {},
        "arithmetic": {},
        "statistics": {},
        "flagged": {},
    },
    "alpaca": {"alpaca": {}},
    "belle": BELLE,
    "sharegpt": SHAREGPT,
    "data-juicer": DATA_JUICER,
    "alpaca-cot": ALPACA_COT,
    "flagdata": FLAGDATA,
    "gopher": GOPHER,
}
"""Name -> rules with their settings, in order: `clean` for data that exists, precision first; `alpaca` for generated
English instructions, `belle` for Chinese ones; `sharegpt` for scraped conversations; the others hold the bounds that
were published for web pages and instruction sets (filters/published.py)."""

__all__ = ["DEFAULT_FIXES", "FILTERS", "FIXES", "PRESETS", "Check", "Fix", "Setting"]
