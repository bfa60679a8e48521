"""Protected spans: what is taken out comes back, and nothing goes missing unnoticed."""

import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.code_lines import code_runs
from pipeline.spans import TOKEN, protect

PYTHON = "def area(r):\n    # the usual formula\n    return 3.14 * r ** 2"

SPANS = (
    "```python\nprint('hi')\n```",
    "~~~\nraw\n~~~",
    "`x = 1`",
    "``a ` b``",
    "https://example.org/a?b=c&d=e#f",
    "https://en.wikipedia.org/wiki/Mercury_(planet)",
    "www.example.org/path",
    "jane.doe+news@mail.example.org",
    "$E = mc^2$",
    "$x$",
    "$$\\int_0^1 f(x)\\,dx$$",
    "\\(a+b\\)",
    "\\[a\n+b\\]",
    "\\begin{align}x &= 1\\end{align}",
    "\\frac{a}{b}",
    "{name}",
    "{{user_name}}",
    "${HOME}",
    "{0}",
    "%s",
    "%(count)d",
    "%.2f",
    "<b>",
    "</div>",
    '<a href="x">',
    "<br/>",
    "<!-- note -->",
    "<|im_end|>",
    "[INST]",
    "⟦0⟧",
    "⟧",
)

PLAIN = (
    "It costs $5 and then $10 more.",
    "A share of 50% said so, 20%done.",
    "2 < 3 and 5 > 4",
    "Use {two words} here",
    "The if clause: return the item to the shop.",
    "For example:\nIf you want to go:\nWhile you wait:",
    "See section (a) or item(s).",
    "价格是 5 元，涨幅 10%。",
    "Yes, I do; no, I don't;",
)

texts = st.text(alphabet=st.one_of(st.characters(), st.sampled_from("`$\\{}<>⟦⟧0123%@ \n")), max_size=200)
mixtures = st.lists(st.one_of(st.sampled_from(SPANS), st.sampled_from(PLAIN), texts), max_size=8).map(" ".join)


@pytest.mark.parametrize("span", SPANS)
@pytest.mark.parametrize(("before", "after"), [("Look at\n", "\nnow."), ("请看\n", "\n好吗？")])
def test_a_span_is_taken_out_whole(span: str, before: str, after: str) -> None:
    protected = protect(f"{before}{span}{after}")
    assert protected.spans == (span,)
    assert protected.text == f"{before}⟦0⟧{after}"


@pytest.mark.parametrize("text", PLAIN)
def test_ordinary_prose_has_no_spans(text: str) -> None:
    assert protect(text).spans == ()


def test_inline_spans_leave_the_sentence_around_them() -> None:
    protected = protect("把 `a` 换成 `b`，见 https://example.org/x。谢谢 {name}！", first=7)
    assert protected.text == "把 ⟦7⟧ 换成 ⟦8⟧，见 ⟦9⟧。谢谢 ⟦10⟧！"
    assert protected.spans == ("`a`", "`b`", "https://example.org/x", "{name}")


def test_a_link_ends_before_the_punctuation_around_it() -> None:
    assert protect("(see https://a.org/b_(c)).").spans == ("https://a.org/b_(c)",)
    assert protect("访问https://a.org/b，然后").spans == ("https://a.org/b",)


def test_what_stands_inside_code_belongs_to_the_code() -> None:
    code = "```\n{name} https://a.org `x`\n```"
    assert protect(f"a\n{code}\nb").spans == (code,)


def test_an_open_fence_reaches_to_the_end() -> None:
    assert protect("Try:\n```sh\nls -l\nand more").text == "Try:\n⟦0⟧"


@pytest.mark.parametrize(
    "code",
    [
        PYTHON,
        "SELECT name FROM users WHERE age > 30;",
        "#include <stdio.h>\n\nint main() {\n    return 0;\n}",
        "function add(a, b) {\n  return a + b;\n}",
        "import os\nfor name in os.listdir('.'):\n    print(name)",
        "x = [1, 2, 3]\ny = sum(x)",
        "const a = 1;\nconsole.log(a);",
    ],
)
def test_code_without_a_fence_is_found(code: str) -> None:
    assert protect(code).is_opaque
    assert protect(f"Explain this code.\n\n{code}\n\nBe brief.").spans == (code,)


def test_a_field_of_code_numbers_or_links_alone_is_opaque() -> None:
    assert protect("42, 3.5").is_opaque
    assert protect("https://example.org").is_opaque
    assert not protect("Forty-two").is_opaque
    assert not protect("答案：42").is_opaque


@given(mixtures)
@settings(max_examples=300)
def test_protect_then_restore_is_identity(text: str) -> None:
    protected = protect(text)
    assert protected.restore(protected.text) == text
    assert protected.problems(protected.text) == {}


@given(mixtures, st.integers(0, 500))
def test_tokens_are_numbered_from_first(text: str, first: int) -> None:
    protected = protect(text, first)
    numbers = [int(n) for n in TOKEN.findall(protected.text)]
    assert numbers == list(range(first, first + len(protected.spans)))
    assert protected.restore(protected.text) == text


@given(mixtures.filter(lambda t: len(protect(t).spans) > 0), st.data())
def test_a_lost_or_repeated_token_is_detected(text: str, data: st.DataObject) -> None:
    protected = protect(text)
    number = data.draw(st.integers(0, len(protected.spans) - 1))
    token = f"⟦{number}⟧"
    assert number in protected.problems(protected.text.replace(token, ""))["missing"]
    assert number in protected.problems(protected.text + token)["repeated"]
    assert protected.problems(protected.text + f"⟦{len(protected.spans)}⟧")["unknown"] == (len(protected.spans),)


def test_blocks_keep_their_order_while_words_may_move() -> None:
    blocks = protect("One:\n```\na\n```\nTwo:\n```\nb\n```")
    assert "out of order" in blocks.problems("Zwei:\n⟦1⟧\nEins:\n⟦0⟧")
    inline = protect("Replace `a` with `b`.")
    assert inline.problems("用 ⟦1⟧ 替换 ⟦0⟧。") == {}


def test_spaces_that_a_model_puts_inside_a_token_are_forgiven() -> None:
    protected = protect("Run `ls`.")
    assert protected.problems("运行 ⟦ 0 ⟧。") == {}
    assert protected.restore("运行 ⟦ 0 ⟧。") == "运行 `ls`。"


@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "`",
        "``x",
        "$$",
        "\\(",
        "\\[x",
        "\\begin{a}",
        "\\a[",
        "<!--",
        "<a ",
        "{{",
        "a@",
        "a.b@c.",
        "www.",
        "if (",
        "x=(",
        "f(",
        "1",
        "⟦",
    ],
)
def test_hostile_texts_cost_no_more_than_their_length(piece: str) -> None:
    text = piece * (60_000 // len(piece))
    began = time.process_time()
    protected = protect(text)
    assert protected.restore(protected.text) == text
    assert time.process_time() - began < 5


def test_code_is_found_in_real_answers_and_prose_left_alone() -> None:
    folder = os.environ.get("REAL_DATA")
    if not folder:
        pytest.skip("REAL_DATA is not set: alpaca_data.json is not here")
    rows = json.loads((Path(folder) / "alpaca_data.json").read_text(encoding="utf-8"))[:8000]
    asks_for_code = (
        "code",
        "python",
        "sql",
        "function",
        "program",
        "script",
        "query",
        "java",
        "html",
        "algorithm",
        "class",
    )
    coded: list[bool] = []
    plain: list[bool] = []
    for row in rows:
        wants = any(word in row["instruction"].lower() for word in asks_for_code)
        (coded if wants else plain).append(bool(list(code_runs(row["output"]))))
        for text in row.values():
            protected = protect(text)
            assert protected.restore(protected.text) == text
    assert sum(coded) > 100
    assert sum(plain) / len(plain) < 0.005
