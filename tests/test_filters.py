"""Each rule objects to its defects in English and Chinese, and to nothing that only looks like them."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from filters import FILTERS, FIXES, PRESETS
from pipeline.record import Message, Record
from pipeline.stages.filter import Filter
from pipeline.stages.fix import Fix
from tests.doubles import run_rows
from tests.test_filters_cases import GOOD, answer, asked, chat
from tests.test_filters_cases_more import ALL


def verdicts(records: Sequence[Record], **settings: Any) -> list[str | None]:
    """Reason of each record, None when kept."""
    numbered = [Record(**{f: getattr(r, f) for f in Record.__slots__} | {"id": str(i)}) for i, r in enumerate(records)]
    outcome = run_rows(Filter(**settings), numbered)
    reasons = dict(outcome.drops.select("id", "reason").iter_rows())
    assert len(reasons) + outcome.kept.height == len(records)
    return [reasons.get(str(i)) for i in range(len(records))]


def shown(record: Record) -> str:
    return " / ".join(f"{m.role}: {m.content[:60]}" for m in record.messages) + f" / {record.input}"


@pytest.mark.parametrize("rule", ALL)
def test_objections(rule: str) -> None:
    settings, defects, fine = ALL[rule]
    records = [record for _, record in defects] + fine + GOOD * (rule not in ("alpaca", "length", "belle"))
    expected = [reason for reason, _ in defects] + [None] * (len(records) - len(defects))
    found = verdicts(records, rules={rule: dict(settings)})
    compared = zip(records, expected, found, strict=True)
    assert [(shown(r), f"expected {e}", f"found {f}") for r, e, f in compared if e != f] == []


def test_what_only_looks_like_a_defect_survives_every_default_rule() -> None:
    judged = set(PRESETS["clean"]) - {"length"}  # its cases use thresholds of their own
    records = GOOD + [record for rule, (_, _, fine) in ALL.items() if rule in judged for record in fine]
    assert [(shown(r), reason) for r, reason in zip(records, verdicts(records), strict=True) if reason] == []


def test_every_reason_has_a_case() -> None:
    everything: dict[str, dict[str, Any]] = {name: {} for name in FILTERS}
    everything |= {"missing": {"url": True}, "language": {"allow": ("en",)}}
    everything["length"] = {"min_words": 1, "max_words": 2, "min_chars": 1, "max_chars": 2}
    reasons = {check.reason for name, settings in everything.items() for check in FILTERS[name](**settings)}
    covered = {reason for _, defects, _ in ALL.values() for reason, _ in defects}
    assert reasons == covered
    assert set(ALL) == set(FILTERS)


def test_every_rule_has_cases_in_both_languages() -> None:
    for rule, (_, defects, _) in ALL.items():
        texts = ["".join(m.content for m in r.messages) + (r.input or "") for _, r in defects]
        chinese = sum(any("\u4e00" <= c <= "\u9fff" for c in text) for text in texts)
        assert 0 < chinese < len(texts), rule


@pytest.mark.parametrize("field", ["instruction", "input", "output", "text"])
def test_each_field_can_be_measured(field: str) -> None:
    record = asked("one two", "one two three four", input="one")
    size = {"instruction": 7, "input": 3, "output": 18, "text": 30}[field]

    def measured(**limits: int) -> list[str | None]:
        return verdicts([record], rules={"length": {"field": field, **limits}})

    assert measured(max_chars=size, min_chars=size) == [None]
    assert measured(max_chars=size - 1) == [f"too-long-{field}"]
    assert measured(min_chars=size + 1) == [f"too-short-{field}"]


def test_a_bad_labelled_or_rejected_answer_is_not_judged() -> None:
    refusing = "I'm sorry, but I can't assist with that."
    ask = "Name a river in Asia."
    unwanted = Record(id="", messages=(Message(role="user", content=ask), *answer(refusing)), label=False)
    wanted = Record(id="", messages=unwanted.messages, label=True)
    rejected = chat(ask, chosen=answer("The Mekong."), rejected=answer(refusing))
    chosen = chat(ask, chosen=answer(refusing), rejected=answer("The Mekong."))
    assert verdicts([unwanted, wanted, rejected, chosen]) == [None, "refusal", None, "refusal"]


def test_the_evidence_names_rule_field_value_and_turn() -> None:
    record = chat("讲个笑话", "从前有座山。", "打开网页", "抱歉，我无法浏览互联网。")
    detail = json.loads(run_rows(Filter(), [record]).drops["detail"][0])
    assert detail == {"rule": "refusal", "field": "output", "value": "抱歉，我无法", "turn": 1}


HOSTILE = [
    *(
        "1-" * 20_000,
        "1 + " * 20_000 + "=",
        "a:" * 20_000 + "a" * 20_000,
        "9" * 50_000,
        "9 " * 50_000,
        "AB12 " * 10_000,
    ),
    *("<p>" * 20_000, "<ul><li>" * 5_000, "@a." * 20_000, "a@" * 20_000 + "b", "sk-" * 20_000, "1. x\n2. y\n" * 5_000),
    *("```" * 20_000, "'" * 50_000, "(" * 50_000, "\n" * 50_000, "% of " * 10_000, "1.1.1.1." * 10_000, "，" * 50_000),
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:8]))
def test_no_text_takes_more_than_linear_time(text: str) -> None:
    """A pattern that backtracks over these would not come back within the lifetime of the test run."""
    records = [asked("Go on.", text), asked(text, "Yes."), asked("Calculate this equation.", "7", input=text)]
    everything = {name: {} for name in FILTERS if name not in ("language", "length")}
    assert run_rows(Filter(rules=everything), records).hits
    assert run_rows(Fix(fixes=tuple(FIXES)), records).kept.height == 3
