"""Records survive the frame, ids are stable, draws are addressed."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.record import Message, Record, derived_id, draw, joined, records_of, source_id, to_frame, view

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
optional = st.none() | text
messages = st.lists(
    st.builds(
        Message,
        role=st.sampled_from(["system", "user", "assistant", "tool"]),
        content=text,
        thinking=optional,
        tool_calls=optional,
        tool_call_id=optional,
        name=optional,
        weight=st.none() | st.floats(0, 1),
    ),
    max_size=4,
).map(tuple)
records = st.builds(
    Record,
    id=text,
    messages=messages,
    input=optional,
    tools=optional,
    chosen=st.none() | messages,
    rejected=st.none() | messages,
    label=st.none() | st.booleans(),
    language=optional,
    tags=st.dictionaries(text, text, max_size=3),
    scores=st.dictionaries(text, st.floats(allow_nan=False, allow_infinity=False), max_size=3),
    source=optional,
    method=optional,
    parents=st.lists(text, max_size=3).map(tuple),
    model=optional,
    prompt=optional,
    license=optional,
    calls=st.lists(text, max_size=3).map(tuple),
    extra=optional,
)


@given(st.lists(records, max_size=4))
def test_a_frame_gives_back_equal_records(items: list[Record]) -> None:
    assert list(records_of(to_frame(items))) == items


@given(st.lists(records, min_size=1, max_size=4))
def test_the_view_says_what_the_record_says_and_has_no_nulls(items: list[Record]) -> None:
    frame = view(to_frame(items))
    for record, row in zip(items, frame.iter_rows(named=True), strict=True):
        assert row["instruction"] == record.instruction
        assert row["output"] == record.output
        assert row["input"] == (record.input or "")
        assert row["n_turns"] == sum(m.role != "system" for m in record.messages)
        assert row["roles"] == ",".join(m.role for m in record.messages)
        assert row["text"] == "\n".join(
            [*(m.content for m in record.messages), *([record.input] if record.input else [])]
        )


def test_the_view_of_nothing_has_its_columns() -> None:
    assert {"instruction", "input", "output", "text", "n_turns", "roles"} <= set(view(to_frame([])).columns)


def test_ids_tell_content_and_repeats_apart() -> None:
    turns = (Message(role="user", content="hello"),)
    assert source_id(turns, None, None) == source_id(turns, None, None) == "e0ffc7872ed97ad58b18"
    others = [source_id(turns, "", None), source_id(turns, None, None, 1), source_id(turns, None, "[]")]
    assert len({source_id(turns, None, None), *others, derived_id("evol", ["a"], 0), derived_id("evol", ["a"], 1)}) == 6


def test_draws_depend_on_their_address_alone() -> None:
    first = draw(1, "entry", "id", "purpose").random()
    draw(1, "entry", "other", "purpose").random()
    assert draw(1, "entry", "id", "purpose").random() == first
    others = [
        (2, "entry", "id", "purpose"),
        (1, "e", "id", "purpose"),
        (1, "entry", "i", "purpose"),
        (1, "entry", "id", "p"),
    ]
    assert first not in [draw(*other).random() for other in others]


def test_instruction_and_input_are_joined_by_a_line_break() -> None:
    assert joined("Sort.", "b\na") == "Sort.\nb\na"
    assert joined("Sort.", None) == joined("Sort.", "") == "Sort."
