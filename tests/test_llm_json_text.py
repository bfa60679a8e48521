"""JSON in a model's text: one value by three stated rules, or the reason why there is none."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.llm.json_text import NotJson, read_json

plain = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | plain,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(plain, inner, max_size=3),
    max_leaves=8,
)
prose = st.text("abc 1.,:!?\n你好", max_size=30)


def why(text: str) -> str:
    with pytest.raises(NotJson) as caught:
        read_json(text)
    return caught.value.why


@given(values)
def test_json_is_read_as_it_is(value: Any) -> None:
    assert read_json(f"\n {json.dumps(value)} ") == value
    assert read_json(json.dumps(value, ensure_ascii=False, indent=2)) == value


@given(st.dictionaries(plain, values, max_size=3), prose, prose, st.sampled_from(["json", "", "JSON"]))
def test_one_object_within_prose_or_a_fence_is_read(value: dict[str, Any], before: str, after: str, name: str) -> None:
    text = json.dumps(value)
    assert read_json(f"x {before}{text}{after} x") == value
    assert read_json(f"{before}\n```{name}\n{text}\n```\n{after}") == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (" \n\ufeff", "empty"),
        ("Four out of five.", "no JSON"),
        ("[1] and more", "no JSON"),
        ("NaN", "no JSON"),
        ('{"a": 1} {"a": 2}', "several values"),
        ('First {"a": 1}, then {"a": 2}', "several values"),
        ('```json\n{"a": 1}\n```\nor\n```\n{"a": 2}\n```', "several values"),
        ('{"a": 1', "invalid JSON"),
        ('{"a": 1,}', "invalid JSON"),
        ("{'a': 1}", "invalid JSON"),
        ('{"a": 1} // sure', None),
        ('```json\n{"a": 1} yes\n```', "invalid JSON"),
        ('{"a": 1, "a": 2}', "duplicate key"),
        ('{"x": {"a": 1, "a": 1}}', "duplicate key"),
        ('{"a": NaN}', "no JSON number"),
        ('{"a": -Infinity}', "no JSON number"),
        ('{"a": 1e999}', "no JSON number"),
        ('{"a": ' + "9" * 5000 + "}", "no JSON number"),
        ('{"a": "\\ud83d"}', "half a character"),
        ('{"a": ' * 100_000, "invalid JSON"),
        ("[" * 100_000, "no JSON"),
    ],
)
def test_what_is_not_one_value_is_told(text: str, reason: str | None) -> None:
    if reason is None:
        assert read_json(text) == {"a": 1}
    else:
        assert why(text) == reason


@given(st.text(max_size=80) | st.text('{}[]":,`\njson 19eN', max_size=60))
def test_any_text_is_a_value_or_a_reason(text: str) -> None:
    with contextlib.suppress(NotJson):
        json.dumps(read_json(text), allow_nan=False).encode()
