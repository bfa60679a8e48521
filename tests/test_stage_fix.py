"""Fixing changes texts and nothing else, wherever in a record they are."""

from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters import FIXES
from pipeline.errors import UsageError
from pipeline.record import SCHEMA, Message, Record, records_of, to_frame
from pipeline.stages.fix import Fix
from tests.doubles import lend, run_rows


def fixed(record: Record, *fixes: str) -> Record:
    outcome = run_rows(Fix(fixes=fixes) if fixes else Fix(), [record])
    (after,) = records_of(outcome.kept)
    return after


def user(text: str) -> Message:
    return Message(role="user", content=text)


def assistant(text: str, **fields: Any) -> Message:
    return Message(role="assistant", content=text, **fields)


def test_every_message_is_mended_and_the_id_stays() -> None:
    record = Record(
        id="r1",
        messages=(
            Message(role="system", content="Be\u00a0brief."),
            user("Is it\u200b true? "),
            assistant("It is.</s>", thinking="hm\x00m"),
            user("讲个故事"),
            assistant("从前有座山。<|im_end|>", name="ann", weight=0.5),
        ),
        input="No input",
        tags={"topic": "x"},
        scores={"accuracy": 4.0},
        parents=("p",),
        label=True,
    )
    after = fixed(record)
    assert [m.content for m in after.messages] == ["Be brief.", "Is it true?", "It is.", "讲个故事", "从前有座山。"]
    assert after.messages[2].thinking == "hmm"
    assert after.messages[4].name == "ann"
    assert after.messages[4].weight == 0.5
    assert after.input == ""
    unchanged = {f: getattr(record, f) for f in Record.__slots__ if f not in ("messages", "input")}
    assert unchanged == {f: getattr(after, f) for f in unchanged}


def test_counts_are_records_not_texts() -> None:
    twice = Record(id="a", messages=(user("one\u200b"), assistant("two\u200b")), input="three\u200b")
    once = Record(id="b", messages=(user("one"), assistant("two\u200b")))
    clean = Record(id="c", messages=(user("one"), assistant("two")))
    outcome = run_rows(Fix(), [twice, once, clean])
    assert outcome.fixed == {"control-characters": 2}
    assert outcome.kept["id"].to_list() == ["a", "b", "c"]
    assert outcome.drops.height == outcome.derived == 0


def test_preference_answers_are_mended() -> None:
    record = Record(id="a", messages=(user("Pick"),), chosen=(assistant("A</s>"),), rejected=(assistant(" B"),))
    after = fixed(record)
    assert (after.chosen, after.rejected) == ((assistant("A"),), (assistant("B"),))


def test_tool_calls_and_what_tools_return_stay_as_they_are() -> None:
    call = Message(role="assistant", content="", tool_calls=r'[{"arguments": "{\"q\": \"a.\\nb\"}"}]', tool_call_id="1")
    result = Message(role="tool", content='{"text": "&lt;p&gt; One.\\nTwo.\\n"} </s>', tool_call_id="1")
    record = Record(id="a", messages=(user("Search"), call, result, assistant("Found. ")), tools='[{"name": "q"}]')
    after = fixed(record)
    assert after.messages[1:3] == (call, result)
    assert after.messages[3].content == "Found."
    assert after.tools == record.tools


def test_markers_are_read_in_the_input_field_alone() -> None:
    record = Record(id="a", messages=(user("N/A"), assistant("No input")), input="<noinput>")
    after = fixed(record)
    assert [m.content for m in after.messages] == ["N/A", "No input"]
    assert after.input == ""


def test_the_order_given_is_the_order_applied() -> None:
    record = Record(id="a", messages=(user("q"), assistant("Output: &lt;b&gt; ")))
    assert fixed(record, "output-label").messages[1].content == "&lt;b&gt; "
    assert fixed(record, "html-entities", "whitespace").messages[1].content == "Output: <b>"
    assert fixed(record, "whitespace", "html-entities", "output-label").messages[1].content == "<b>"


def test_records_without_texts_pass() -> None:
    bare = [Record(id="a"), Record(id="b", messages=(), chosen=(), input=None), Record(id="c", messages=(user(" x"),))]
    outcome = run_rows(Fix(), bare)
    after = list(records_of(outcome.kept))
    assert [r.id for r in after] == ["a", "b", "c"]
    assert after[0].input is None
    assert after[1].chosen == ()
    assert after[2].messages[0].content == "x"
    assert run_rows(Fix(), []).kept.schema == SCHEMA


TEXT = st.text(alphabet=st.sampled_from(list("a .\n\\n<>/s|&lt;&gt;;N:A无输入出：\u200b\u00a0\x07\t ")), max_size=30)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(TEXT, TEXT, st.none() | TEXT), max_size=6), st.integers(1, 5))
def test_any_block_size_gives_the_same(rows: list[tuple[str, str, str | None]], size: int) -> None:
    records = [
        Record(id=str(i), messages=(user(a), assistant(b)), input=c, chosen=(assistant(b),) if i % 3 == 0 else None)
        for i, (a, b, c) in enumerate(rows)
    ]
    whole = run_rows(Fix(), records)
    parts = [Fix().run(to_frame(records[i : i + size]), lend()) for i in range(0, len(records), size)]
    joined = pl.concat([p.kept for p in parts]) if parts else whole.kept
    assert joined.equals(whole.kept, null_equal=True)
    assert whole.kept.schema == SCHEMA
    for name in FIXES:
        assert sum(p.fixed.get(name, 0) for p in parts) == whole.fixed.get(name, 0)


def test_an_unknown_fix_is_named_with_the_valid_ones() -> None:
    with pytest.raises(UsageError) as caught:
        Fix(fixes=("whitespaces",))
    assert caught.value.message == "fix: unknown fix 'whitespaces'"
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("did you mean 'whitespace'? valid ones: html-to-markdown, ")
