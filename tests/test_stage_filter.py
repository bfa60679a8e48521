"""Filtering: the first objection is the reason, every rule is counted, every drop carries its evidence."""

import json
import pickle
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters import FILTERS, PRESETS
from pipeline.errors import UsageError
from pipeline.record import DROP_SCHEMA, SCHEMA, Record, to_frame
from pipeline.settings import coerced, settings_schema
from pipeline.stages.filter import Filter
from tests.doubles import lend, run_rows
from tests.test_filters_cases import GOOD, REASONS, asked, chat


def numbered(*records: Record) -> list[Record]:
    return [Record(**{f: getattr(r, f) for f in Record.__slots__} | {"id": f"r{i}"}) for i, r in enumerate(records)]


EVERYTHING = numbered(*GOOD, *(r for _, defects, fine in REASONS.values() for r in [*(r for _, r in defects), *fine]))


def details(stage: Filter, *records: Record) -> dict[str, dict[str, Any]]:
    drops = run_rows(stage, numbered(*records)).drops
    return {row["id"]: {"reason": row["reason"], **json.loads(row["detail"])} for row in drops.iter_rows(named=True)}


def test_books_balance_and_rows_are_untouched() -> None:
    outcome = run_rows(Filter(), EVERYTHING)
    assert outcome.kept.height + outcome.drops.height == len(EVERYTHING)
    assert outcome.kept.schema == SCHEMA
    assert outcome.drops.schema == DROP_SCHEMA
    before = to_frame(EVERYTHING)
    for part in (outcome.kept, outcome.drops.select(SCHEMA.names())):
        assert part.equals(before.filter(pl.col("id").is_in(part["id"].implode())), null_equal=True)


def test_hits_count_what_comes_too_late_to_be_the_reason() -> None:
    both = asked("Draw the flow of an order.", "<no output>")
    outcome = run_rows(Filter(rules=("leakage", "placeholder")), [both])
    assert outcome.drops["reason"].to_list() == ["prompt-marker"]
    assert {k: v for k, v in outcome.hits.items() if v} == {"prompt-marker": 1, "placeholder-output": 1}
    turned = run_rows(Filter(rules=("placeholder", "leakage")), [both])
    assert turned.drops["reason"].to_list() == ["placeholder-output"]
    assert turned.hits == outcome.hits


def test_a_conversation_is_hit_once_however_many_turns_are_bad() -> None:
    refusing = chat("打开网页", "抱歉，我无法浏览互联网。", "再试一次", "抱歉，我无法浏览互联网。")
    outcome = run_rows(Filter(), [refusing])
    assert outcome.hits["refusal"] == 1
    assert json.loads(outcome.drops["detail"][0])["turn"] == 0


def test_a_rule_that_objects_to_nothing_reports_zero() -> None:
    assert run_rows(Filter(preset="alpaca"), [asked("Name a river in Asia.", "The Mekong.")]).hits == {
        "alpaca-length": 0,
        "alpaca-blocked-word": 0,
        "alpaca-program": 0,
        "alpaca-start": 0,
    }


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 30), st.randoms(use_true_random=False))
def test_any_block_size_gives_the_same(size: int, random: Any) -> None:
    records = random.sample(EVERYTHING, 30)
    stage = Filter(rules={name: {} for name in FILTERS if name not in ("language", "alpaca")})
    whole = run_rows(stage, records)
    parts = [stage.run(to_frame(records[i : i + size]), lend()) for i in range(0, len(records), size)]
    assert pl.concat([p.kept for p in parts]).equals(whole.kept, null_equal=True)
    assert pl.concat([p.drops for p in parts]).equals(whole.drops, null_equal=True)
    assert {reason: sum(p.hits[reason] for p in parts) for reason in whole.hits} == whole.hits


def test_presets_rules_and_settings_combine() -> None:
    short = asked("Name a river in Asia.", "Mekong")
    unfinished = asked("Work out the sum of the two numbers.", "The numerical value of the equation is")
    refused = asked("打开网页", "抱歉，我无法浏览互联网。")
    records = (short, unfinished, refused)

    def dropped(**settings: Any) -> dict[str, str]:
        return {id: found["reason"] for id, found in details(Filter(**settings), *records).items()}

    assert dropped() == {"r1": "unfinished-ending", "r2": "refusal"}
    assert dropped(preset="clean") == dropped()
    assert dropped(rules=("refusal",)) == {"r2": "refusal"}
    assert dropped(rules=["refusal"]) == {"r2": "refusal"}
    assert dropped(rules={"refusal": {"declines": False}}) == {}
    assert dropped(preset="clean", rules={"ending": None}) == {"r2": "refusal"}
    assert dropped(preset="clean", rules={"length": {"min_chars": 7}})["r0"] == "too-short-output"
    assert dropped(rules={"length": {"min_words": 2}}) == {"r0": "too-short-output"}
    assert dropped(preset="alpaca", rules=("refusal",)) == {"r2": "alpaca-length"}
    assert dropped(custom=({"reason": "wet", "field": "instruction", "regex": "river"},))["r0"] == "wet"


def test_a_presets_other_settings_survive_a_changed_one() -> None:
    mail = asked("Who do I ask?", "Write to maria.lopes@ufmg.br.")
    call = asked("Whom do I call?", "(212) 684-4700")
    assert details(Filter(preset="clean", rules={"contact": {"email": True}}), mail, call).keys() == {"r0"}


def test_custom_rules() -> None:
    stage = Filter(
        rules={"empty": {}},
        custom=(
            {"reason": "too-chatty", "field": "output", "regex": "(?i)^(sure|当然)[!,，！]"},
            {"reason": "many-turns", "sql": "n_turns > 3 AND roles LIKE 'user,%'"},
            {"reason": "wordy", "sql": "output_words > 12"},
            {"reason": "not-english", "sql": "text_language <> 'en' AND text_language_confidence > 0.5"},
        ),
    )
    found = details(
        stage,
        asked("Name a river.", "Sure, the Nile."),
        asked("说一条河", "当然！长江。"),
        chat("Hi", "Hello", "Bye", "See you"),
        asked("Count.", "one two three four five six seven eight nine ten eleven twelve thirteen"),
        asked("Wie hoch ist der höchste Berg der Alpen?", "Der Mont Blanc ist 4805 Meter hoch."),
        asked("Name a river.", "The Nile."),
    )
    assert {id: detail["reason"] for id, detail in found.items()} == {
        "r0": "too-chatty",
        "r1": "too-chatty",
        "r2": "many-turns",
        "r3": "wordy",
        "r4": "not-english",
    }
    assert found["r0"] == {"reason": "too-chatty", "rule": "custom", "field": "output", "value": "Sure,"}
    assert found["r2"]["value"] == {"n_turns": 4, "roles": "user,assistant,user,assistant"}
    assert found["r3"]["value"] == {"output_words": 13}


def test_long_evidence_is_cut() -> None:
    stage = Filter(rules=("empty",), custom=({"reason": "long", "sql": "length(output) > 1000"},))
    found = details(stage, asked("Go on.", "word " * 500))
    assert len(found["r0"]["value"]["output"]) == 300

    turns = [text for n in range(9) for text in (f"Tell me {n}.", f"It is {n}.")]
    stage = Filter(rules=("empty",), custom=({"reason": "long", "sql": "ARRAY_LENGTH(messages) > 9"},))
    assert len(details(stage, chat(*turns))["r0"]["value"]["messages"]) == 5


def test_a_custom_rule_that_breaks_on_a_row_is_a_sentence() -> None:
    rows = numbered(asked("How many legs has a dog?", "4"), asked("Is it so?", "Yes"))
    with pytest.raises(UsageError, match="cannot be computed for these rows") as caught:
        run_rows(Filter(custom=({"reason": "x", "sql": "CAST(output AS INT) > 3"},)), rows)
    assert "TRY_CAST" in (caught.value.hint or "")
    kept = run_rows(Filter(custom=({"reason": "x", "sql": "TRY_CAST(output AS INT) > 3"},)), rows).kept
    assert kept["id"].to_list() == ["r1"]


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"preset": "cleen"}, "filter: unknown preset 'cleen'", "did you mean 'clean'? valid ones: clean, alpaca"),
    ({"rules": ("lenght",)}, "filter: unknown rule 'lenght'", "did you mean 'length'? valid ones: roles, empty"),
    ({"rules": {"lenght": {}}}, "filter: unknown rule 'lenght'", "did you mean 'length'?"),
    (
        {"rules": {"length": {"min_word": 3}}},
        "filter: unknown setting 'min_word' of rule 'length'",
        "did you mean 'min_words'? valid ones: field, min_words",
    ),
    ({"rules": {"roles": {"x": 1}}}, "filter: unknown setting 'x' of rule 'roles'", "valid ones: none"),
    (
        {"rules": {"length": 3}},
        "filter: rule 'length' takes a mapping of settings, not 3",
        "'length: {}' for its defaults",
    ),
    (
        {"rules": {"length": {"min_words": "three"}}},
        "'min_words' of rule 'length' must be a whole number, not 'three'",
        "",
    ),
    ({"rules": {"length": {"min_words": True}}}, "'min_words' of rule 'length' must be a whole number, not True", ""),
    ({"rules": {"length": {"min_words": 2.5}}}, "must be a whole number, not 2.5", ""),
    ({"rules": {"length": {"field": "outputs"}}}, "must be one of instruction, input, output, text, not 'outputs'", ""),
    ({"rules": {"refusal": {"declines": 1}}}, "'declines' of rule 'refusal' must be true or false, not 1", ""),
    ({"rules": {"language": {"allow": "en"}}}, "'allow' of rule 'language' must be a list of texts, not 'en'", ""),
    ({"rules": {"language": {"min_confidence": "high"}}}, "must be a number, not 'high'", ""),
    ({"custom": ({"regex": "x"},)}, "filter: a custom rule needs a reason", "lower-case letters"),
    ({"custom": ({"reason": "Too Long", "regex": "x"},)}, "needs a reason such as 'too-chatty', not 'Too Long'", ""),
    ({"custom": ({"reason": "x", "regexp": "x"},)}, "unknown key 'regexp' in a custom rule", "did you mean 'regex'?"),
    ({"custom": ({"reason": "x"},)}, "the custom rule 'x' must have either 'sql', or 'regex' and its 'field'", "sql:"),
    ({"custom": ({"reason": "x", "regex": "a", "sql": "n_turns > 1"},)}, "must have either 'sql', or 'regex'", ""),
    (
        {"custom": ({"reason": "x", "field": "outptu", "regex": "a"},)},
        "unknown field 'outptu'",
        "did you mean 'output'?",
    ),
    ({"custom": ({"reason": "x", "field": "n_turns", "regex": "a"},)}, "unknown field 'n_turns'", "valid ones: id"),
    (
        {"custom": ({"reason": "x", "regex": "(a"},)},
        "the regex of the custom rule 'x' is not valid: unclosed group",
        "Rust",
    ),
    ({"custom": ({"reason": "x", "regex": "(?=a)"},)}, "look-around", "no look-around"),
    ({"custom": ({"reason": "x", "sql": "outptu = ''"},)}, "unknown column 'outptu'", "did you mean 'output'?"),
    (
        {"custom": ({"reason": "x", "sql": "n_turns >"},)},
        "the sql of the custom rule 'x' is not valid",
        "the columns id",
    ),
    ({"custom": ({"reason": "x", "sql": "n_turns > 'many'"},)}, "the sql of the custom rule 'x' is not valid", ""),
    ({"custom": ({"reason": "x", "sql": "n_turns + 1"},)}, "and not true or false", "compare something"),
    ({"custom": ({"reason": "x", "sql": "1 = 1"},)}, "the sql of the custom rule 'x' reads no column", "n_turns"),
    (
        {"custom": ({"reason": "x", "sql": "length(output) > AVG(length(output))"},)},
        "looks at more than one row at a time",
        "leave out aggregates",
    ),
    ({"custom": ({"reason": "x", "sql": "ROW_NUMBER() OVER (ORDER BY id) > 5"},)}, "more than one row at a time", ""),
]


@pytest.mark.parametrize(("given", "message", "hint"), WRONG, ids=lambda value: str(value)[:60])
def test_mistakes_are_sentences_with_a_next_step(given: dict[str, Any], message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        Filter(**given)
    assert message in caught.value.message
    assert "\n" not in caught.value.message
    assert hint in (caught.value.hint or "")


def test_the_recipes_schema_takes_names_or_settings() -> None:
    schema = settings_schema(Filter)
    assert schema["properties"]["preset"]["enum"] == [*PRESETS, None]
    written = {
        "preset": "clean",
        "rules": {"length": {"min_words": 3}, "language": {"allow": ["en"]}, "ending": None},
        "custom": [{"reason": "x", "sql": "n_turns > 9"}],
    }
    stage = Filter(**coerced(Filter, written))
    assert json.loads(json.dumps(stage.rules)) == written["rules"]
    assert pickle.loads(pickle.dumps(stage)) == stage
    assert Filter(**coerced(Filter, {"rules": ["empty", "roles"]})).rules
