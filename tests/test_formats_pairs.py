"""Round trips: what a format takes comes back as it was, from it and from every other format that takes it as well.

The tests run over the table of formats, so that a new one is covered without a new test.
"""

import contextlib
import functools
import itertools
import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, NamedTuple

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.export.check import SHAPE_KEYWORDS, VALUE_KEYS, RowCheck
from pipeline.formats import FORMATS, recognised
from pipeline.formats.extras import whole_row
from pipeline.formats.shape import Bad, Format
from pipeline.record import Message, Record
from tests.conversations import EXTRA, JSON, PLAIN_TURN, RICH_TURN, SOME, TAGS, TOOLS, chat_records

MARKS = (
    *("Human:", "x\nAssistant: y", "\n\nHuman: z", "### Human: a", "a ### Assistant: b", "[|Human|]", "a [|AI|] b"),
    *("<user>: a", "a <bot>: ", "a<eoh>\n<|MOSS|>: b", "None", "a<|endoftext|>", "a Output:", "###Output: b"),
    *(" a", "b\n", "true", "[1]", '{"role": "user"}', "1", "null", '"', "a,b", "a\tb", "<noinput>"),
)
WORDS = SOME.filter(str.strip) | st.sampled_from(MARKS)
OPTIONS = ("system", "several", "answer", "input", "choices", "label", "tools", "spaced")


class Parts(NamedTuple):
    """What a record can be put together from."""

    texts: list[str]
    tools: str | None
    tags: dict[str, str]
    extra: str | None


PARTS = st.builds(Parts, st.lists(WORDS, min_size=9, max_size=9), TOOLS, TAGS, EXTRA)
SIMPLE = Parts(list("abcdefghi"), '[{"name":"f"}]', {"topic": "t"}, '{"id":1}')


def record_of(parts: Parts, options: frozenset[str]) -> Record:
    texts = parts.texts if "spaced" in options else [text.strip() for text in parts.texts]
    turns = [Message(role=("user", "assistant")[i % 2], content=text) for i, text in enumerate(texts[:4])]
    turns = turns if "several" in options else turns[:2]
    turns = turns if "answer" in options else turns[:-1]
    system = [Message(role="system", content=texts[4])] if "system" in options else []
    better, worse = ((Message(role="assistant", content=text),) for text in texts[5:7])
    return Record(
        id="x",
        messages=(*system, *turns),
        input=texts[7] if "input" in options else None,
        tools=(parts.tools or "[]") if "tools" in options else None,
        chosen=better if "choices" in options else None,
        rejected=worse if "choices" in options else None,
        label=len(texts[8]) % 2 == 0 if "label" in options else None,
        tags=parts.tags,
        extra=parts.extra,
    )


@functools.cache
def taken(name: str) -> list[frozenset[str]]:
    """The combinations of options that a format takes without loss, the richest first."""
    every = [frozenset(c) for n in range(len(OPTIONS), -1, -1) for c in itertools.combinations(OPTIONS, n)]
    simple = [(options, record_of(SIMPLE, options)) for options in every]
    return [options for options, record in simple if lossless(FORMATS[name], record)]


@functools.cache
def common(first: str, second: str) -> list[frozenset[str]]:
    also = set(taken(second))
    return [options for options in taken(first) if options in also]


def lossless(format: Format, record: Record) -> bool:
    """Whether nothing is lost, and no text makes the row look like another format's."""
    if format.refuses(record) is not None or format.losses(record):
        return False
    row, lost = whole_row(format, record)
    return not lost and (recognised(row) is format or lonely(format, row))


def lonely(format: Format, row: dict[str, object]) -> bool:
    """A prompt alone beside unknown columns is recognised by no format: one of them could be its answer."""
    return format.name.startswith("prompt-completion") and "completion" not in row and recognised(row) is None


@functools.cache
def validator(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(FORMATS[name].schema)


def back(format: Format, record: Record) -> Record:
    """Write a record, send the row through JSON, read it again."""
    row, _ = whole_row(format, record)
    validator(format.name).validate(row)
    (fields,) = format.read(json.loads(json.dumps(row)))
    return Record(id=record.id, **fields)


@pytest.mark.parametrize("name", list(FORMATS))
@settings(max_examples=25, deadline=None)
@given(parts=PARTS, choice=st.integers(0, 1_000))
def test_what_a_format_takes_comes_back(name: str, parts: Parts, choice: int) -> None:
    record = record_of(parts, taken(name)[choice % len(taken(name))])
    if lossless(FORMATS[name], record):
        assert back(FORMATS[name], record) == record


@pytest.mark.parametrize("name", list(FORMATS))
@settings(max_examples=3, deadline=None)
@given(parts=PARTS, choice=st.integers(0, 1_000))
def test_what_two_formats_take_comes_back_through_both(name: str, parts: Parts, choice: int) -> None:
    first = FORMATS[name]
    for second in FORMATS.values():
        both = common(name, second.name)
        if not both:
            continue
        record = record_of(parts, both[choice % len(both)])
        if lossless(first, record) and lossless(second, record):
            assert back(second, back(first, record)) == record


def test_every_format_shares_something_with_most_others() -> None:
    """Else the test above would say nothing."""
    pairs = [(a, b) for a in FORMATS for b in FORMATS if common(a, b)]
    assert {a for a, _ in pairs} == set(FORMATS)
    assert len(pairs) > len(FORMATS) ** 2 / 2


@pytest.mark.parametrize("name", list(FORMATS))
def test_the_rows_that_a_format_writes_are_recognised_as_its_own(name: str) -> None:
    format = FORMATS[name]
    for options in (frozenset(c) for n in range(len(OPTIONS) + 1) for c in itertools.combinations(OPTIONS, n)):
        record = record_of(SIMPLE, options)
        if format.refuses(record) is None:
            row, _ = whole_row(format, record)
            assert recognised(row) is format or lonely(format, row)
            assert recognised(format.write(record)) is format


@settings(max_examples=60, deadline=None)
@given(chat_records(RICH_TURN, 2) | chat_records(PLAIN_TURN, 1))
def test_conversations_of_any_kind_come_back_or_are_refused(record: Record) -> None:
    for format in FORMATS.values():
        if format.refuses(record) is None:
            row, _ = whole_row(format, record)
            validator(format.name).validate(row)
            if lossless(format, record):
                assert back(format, record) == record


@pytest.mark.parametrize("name", list(FORMATS))
def test_what_is_lost_is_named(name: str) -> None:
    """Whatever a format takes and gives back changed has been told beforehand."""
    format = FORMATS[name]

    for n in range(len(OPTIONS) + 1):
        for options in itertools.combinations(OPTIONS, n):
            record = record_of(SIMPLE, frozenset(options))
            record = replace(record, messages=tuple(replace(m, thinking="t", weight=1.0) for m in record.messages))
            if format.refuses(record) is None and back(format, record) != record:
                assert format.losses(record), options


@pytest.mark.parametrize("name", [n for n in FORMATS if n != "records"])
def test_unknown_columns_and_keys_of_turns_come_back_where_they_were(name: str) -> None:
    format = FORMATS[name]
    options = next(o for o in taken(name) if not o & {"tools", "input"} or name == "alpaca")
    row = format.write(record_of(SIMPLE, options))
    marked = json.loads(json.dumps(row), object_hook=lambda found: {**found, "unknown": {"deep": [1]}})
    (fields,) = format.read(json.loads(json.dumps(marked)))
    written, lost = whole_row(format, Record(id="x", **fields))
    assert lost == []
    assert json.dumps(written, sort_keys=True) == json.dumps(marked, sort_keys=True)


def places(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The way to every value inside a JSON value."""
    items: Iterable[tuple[str | int, object]] = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    return [path, *(place for key, inner in items for place in places(inner, (*path, key)))]


def changed(value: Any, path: tuple[str | int, ...], new: object) -> Any:
    if not path:
        return new
    value[path[0]] = changed(value[path[0]], path[1:], new)
    return value


@pytest.mark.parametrize("name", list(FORMATS))
@settings(max_examples=40, deadline=None)
@given(parts=PARTS, choice=st.integers(0, 1_000), new=JSON)
def test_any_value_anywhere_is_read_or_is_a_reason(name: str, parts: Parts, choice: int, new: object) -> None:
    """Hostile rows end in records or in Bad, in every format that could be tried on them."""
    options = taken(name)[choice % len(taken(name))]
    row = FORMATS[name].write(record_of(SIMPLE if choice % 2 else parts, options))
    ways = [way for way in places(row) if way]
    row = changed(json.loads(json.dumps(row)), ways[choice % len(ways)], new)
    found = recognised(row)
    for format in {id(f): f for f in (FORMATS[name], found) if f is not None}.values():
        with contextlib.suppress(Bad):
            for fields in format.read(row):
                record = Record(id="x", **fields)
                for target in FORMATS.values():
                    if target.refuses(record) is None:
                        target.losses(record)
                        whole_row(target, record)


@pytest.mark.parametrize("name", list(FORMATS))
def test_schemas_say_only_what_the_shape_of_a_row_decides(name: str) -> None:
    """See `pipeline.export.check`: one validation a distinct shape is enough then."""

    def walk(schema: object, key: str | None = None) -> None:
        if not isinstance(schema, dict):
            return
        assert set(schema) <= SHAPE_KEYWORDS, schema
        assert "enum" not in schema or key in VALUE_KEYS
        for name, inner in schema.get("properties", {}).items():
            walk(inner, name)
        walk(schema.get("items"))
        for inner in schema.get("anyOf", ()):
            walk(inner)

    walk(FORMATS[name].schema)
    RowCheck(FORMATS[name].schema)
