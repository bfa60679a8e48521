"""Bounds and lists that others published, as settings of our rules."""

from collections.abc import Mapping

from filters.setting import Setting

_REPEATED = zip(range(5, 11), (0.15, 0.14, 0.13, 0.12, 0.11, 0.10), strict=True)
_REPEATED_GRAMS = {f"repeated_{n}gram": bound for n, bound in _REPEATED}

DATA_JUICER: Mapping[str, Mapping[str, Setting]] = {
    "statistics": {
        "field": "text",
        "min_chars": 1,
        "at_least": {
            "alnum_ratio": 0.25,
            "mean_line": 10,
            "max_line": 10,
            "stop_ratio": 0.3,
            "chars": 10,
            "word_count": 10,
            "token_estimate": 10,
        },
        "at_most": {"special_ratio": 0.25, "char_repetition": 0.5, "word_repetition": 0.5},
    },
    "flagged": {"max_ratio": 0.045, "min_hits": 1},
}
"""The defaults of Data-Juicer's operators (py-data-juicer 1.6: alphanumeric, average and maximum line length, stop
words, text length, words, tokens, special characters, character and word repetition, flagged words)."""

ALPACA_COT: Mapping[str, Mapping[str, Setting]] = {
    "statistics": {
        "field": "text",
        "min_chars": 1,
        "at_least": {"alnum_ratio": 0.1, "max_line": 20, "chars": 30},
        "at_most": {"char_repetition": 0.6},
    },
    "flagged": {"max_ratio": 0.017, "min_hits": 1},
}
"""Data-Juicer's recipe that refines the English half of Alpaca-CoT (alpaca-cot-en-refine.yaml), deduplication apart."""

FLAGDATA: Mapping[str, Mapping[str, Setting]] = {
    "statistics": {
        "field": "text",
        "min_chars": 1,
        "at_least": {
            "mean_line": 10,
            "max_line": 10,
            "stop_ratio": 0.3,
            "chars": 10,
            "token_estimate": 10,
            "word_count": 10,
        },
        "at_most": {
            "alnum_ratio": 0.8,
            "mean_line": 10_000,
            "max_line": 10_000,
            "special_ratio": 0.25,
            "word_repetition": 0.5,
        },
    },
    "flagged": {"max_ratio": 0.045, "min_hits": 1},
}
"""The defaults of FlagData v3's operators. Its share of letters has an upper bound of 0.8, which most prose exceeds."""

GOPHER: Mapping[str, Mapping[str, Setting]] = {
    "statistics": {
        "field": "text",
        "min_chars": 1,
        "at_least": {"word_count": 50, "mean_word": 3, "alpha_words": 0.8, "gopher_words": 2},
        "at_most": {
            "word_count": 100_000,
            "mean_word": 10,
            "hash_ratio": 0.1,
            "ellipsis_ratio": 0.1,
            "bullet_lines": 0.9,
            "ellipsis_lines": 0.3,
            "repeated_lines": 0.3,
            "repeated_paragraphs": 0.3,
            "repeated_line_chars": 0.2,
            "repeated_paragraph_chars": 0.2,
            "top_2gram": 0.2,
            "top_3gram": 0.18,
            "top_4gram": 0.16,
            **_REPEATED_GRAMS,
        },
    },
}
"""Gopher's quality and repetition rules for web pages (Rae et al. 2021, appendix A1.1, table A1); made for English."""

SHAREGPT: Mapping[str, Mapping[str, Setting]] = {
    "roles": {},
    "empty": {},
    "provider-error": {},
    "vendor": {},
    "numbering": {"strict": True},
}
"""FastChat's cleaning of ShareGPT (fastchat/data: clean_sharegpt, filter_wrong_format), after `trim` and `fix`."""

BELLE: Mapping[str, Mapping[str, Setting]] = {"belle": {}}
"""What BELLE's generator refuses (generate_instruction.py)."""
