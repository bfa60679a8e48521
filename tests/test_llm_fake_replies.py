"""Replies of the fake provider: functions of the question, with failures at the stated shares."""

import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from pipeline.llm.fake import tokens
from pipeline.llm.fake.completion import complete
from pipeline.llm.fake.cue import tongue_of
from pipeline.llm.fake.lexicon import PROTECTED, language_of, lexicon, translated
from pipeline.llm.fake.question import Objection, Question
from pipeline.llm.fake.replies import say
from pipeline.llm.fake.script import parse_script
from pipeline.llm.fake.translate import named_language

HAN = re.compile(r"[\u4e00-\u9fff]")


def chat(text: str, **params: Any) -> Question:
    return Question("chat", {"model": "m", "messages": [{"role": "user", "content": text}], **params})


def reply(prompt: str, /, **setting: Any) -> str:
    return say(parse_script({"rules": [{"reply": setting}]}).rules[0], chat(prompt)).text


def many(kind: str, rounds: int = 400, prompt: str = "Name the rivers of Europe.", **setting: Any) -> list[str]:
    rule = parse_script({"rules": [{"reply": {"kind": kind, **setting}}]}).rules[0]
    return [say(rule, chat(f"Round {i}. {prompt}")).text for i in range(rounds)]


def sorted_by(made: list[str], tests: dict[str, Callable[[str], object]]) -> Counter[str]:
    """How many there are of each kind; the first test that holds decides."""
    return Counter(next((name for name, test in tests.items() if test(text)), "other") for text in made)


EN_PROMPT = """Write more tasks.
###
1. Instruction: Name three long rivers in Europe and say where each of them ends.
1. Input:
<noinput>
1. Output:
The Rhine ends in the North Sea.
###
2. Instruction: Decide whether the word is a noun.
2. Input:
table
2. Output:
yes
###
3. Instruction:"""
ZH_PROMPT = """继续写任务。
1. 指令：说出欧洲的三条河流。
1. 输入：
<无输入>
1. 输出：
莱茵河
###
2. 指令："""


def records(text: str, number: int, labels: tuple[str, str, str]) -> list[tuple[str, str, str]]:
    """A strict reader of the Alpaca markup; fails on any deviation."""
    found = []
    for i, chunk in enumerate(f"{number}. {labels[0]}{text}".split("\n###\n"), number):
        parts = re.fullmatch(
            rf"{i}\. {labels[0]}(.+?)\n{i}\. {labels[1]}\n(.+?)\n{i}\. {labels[2]}\n(.+)", chunk, re.DOTALL
        )
        assert parts, chunk
        found.append((parts[1].strip(), parts[2], parts[3]))
    return found


def test_tasks_go_on_at_the_number_where_the_prompt_ends() -> None:
    english = records(reply(EN_PROMPT, kind="tasks", count=12), 3, ("Instruction:", "Input:", "Output:"))
    assert len({instruction for instruction, _, _ in english}) == 12
    assert all(len(instruction.split()) >= 5 for instruction, _, _ in english)
    chinese = records(reply(ZH_PROMPT, kind="tasks", count=12), 2, ("指令：", "输入：", "输出："))
    assert all(len(HAN.findall(instruction)) > 5 for instruction, _, _ in chinese)
    assert {"<noinput>"} < {input for _, input, _ in english}
    assert "<无输入>" in {input for _, input, _ in chinese}
    closed = reply(EN_PROMPT.removesuffix("3. Instruction:"), kind="tasks", count=2)
    assert closed.startswith("###\n3. Instruction: ")
    polite = many("tasks", 200, EN_PROMPT.removesuffix("3. Instruction:"), preamble_share=0.3)
    assert sum(not p.startswith("###\n") for p in polite) / 200 == pytest.approx(0.3, abs=0.1)


def test_a_plain_list_gets_a_plain_list() -> None:
    lines = reply("Come up with tasks:\n8. Name a river.\n9.", kind="tasks", count=5).split("\n")
    assert [line.split(".")[0] for line in lines[1:]] == ["10", "11", "12", "13"]
    assert not any("Input" in line for line in lines)


def test_the_number_of_tasks_is_read_from_the_prompt() -> None:
    lines = reply("Invent 7 new tasks.\n3.", kind="tasks", count_in=r"(\d+) new").split("\n")
    assert len(lines) == 7
    lines = reply("A list of 12 tasks\n3.", kind="tasks", last_in=r"list of (\d+)").split("\n")
    assert len(lines) == 10
    assert lines[-1].startswith("12. ")


def test_tasks_are_varied() -> None:
    instructions = [i for n in range(60) for i, _, _ in records(
        reply(f"{n}\n{EN_PROMPT}", kind="tasks", count=10), 3, ("Instruction:", "Input:", "Output:"))]  # fmt: skip
    assert len(set(instructions)) >= 0.9 * len(instructions)
    assert len({i.split()[0] for i in instructions}) >= 30


def copies(made: str) -> bool:
    instructions = re.findall(r"(?:^|Instruction:) (.+)", made)
    demonstrations = [set(d.split()) for d in re.findall(r"Instruction: (.+)", EN_PROMPT)]
    return any(len(d & set(i.split())) >= len(d) - 1 for i in instructions for d in demonstrations)


TASK_FAULTS = {
    "near_copy": copies,
    "short": lambda r: (
        re.search(r"Instruction: (?:Why .{1,25}|(?:\w+ ){0,2}\w+[.?])\n", f"Instruction:{r}") is not None
    ),
    "image": lambda r: re.search(r"\b(?:picture|image|video|graph)\b", r) is not None,
    "drift": lambda r: re.search(r"(?<!#)##(?!#)|[^#]\n4\. Instruction:", r) is not None,
    "missing_field": lambda r: len(re.findall(r"\d\. (?:Input|Output):\n", r)) < 4,
    "empty_output": lambda r: re.search(r"Output:\n\n?(?:###|\Z)", r) is not None,
    "merged": lambda r: "\nInstruction: " in r,
}


@pytest.mark.parametrize("name", TASK_FAULTS)
def test_each_task_fault_comes_at_its_share(name: str) -> None:
    shown = TASK_FAULTS[name]
    share = 0.3 if name == "drift" else 1 - 0.7**2  # a separator stands between records: only the first can spoil it
    made = many("tasks", 300, EN_PROMPT, count=2, shares={name: 0.3})
    assert sum(map(shown, made)) / 300 == pytest.approx(share, abs=0.1)
    assert not any(map(shown, many("tasks", 100, EN_PROMPT, count=2)))


def test_a_rewrite_adds_to_the_instruction() -> None:
    text = "Name the rivers of Europe."
    made = reply(f"Make it harder. BEGIN {text} END", kind="rewrite", take="BEGIN (.*?) END")
    assert made.startswith(text)
    assert 8 <= len(made.split()) - len(text.split()) <= 40
    data = reply(text, kind="rewrite", how="input")
    assert data.startswith(f"{text}\n")
    assert text not in reply(text, kind="rewrite", how="broaden")
    assert reply("列出三种水果", kind="rewrite").startswith("列出三种水果。")
    again = reply(made, kind="rewrite")
    assert again.startswith(made)
    assert again != made


def test_rewrites_fail_at_their_shares() -> None:
    shares = {"unchanged": 0.1, "leaked": 0.2, "refusal": 0.1, "empty": 0.1}
    made = many("rewrite", 1000, shares=shares, leak="The rewritten prompt:")
    kinds = sorted_by(
        made,
        {
            "empty": lambda m: not m,
            "unchanged": lambda m: m.endswith("Europe."),
            "leaked": lambda m: m.startswith("The rewritten prompt:\n"),
            "refusal": lambda m: "orry" in m,
            "rewritten": lambda m: m.startswith("Round"),
        },
    )
    assert {k: v / 1000 for k, v in kinds.items()} == pytest.approx({**shares, "rewritten": 0.5}, abs=0.04)


def test_answers_are_about_the_question_and_as_long_as_asked() -> None:
    for words in (20, 60, 200):
        lengths = [len(a.split()) for a in many("answer", 100, words=words)]
        assert 0.55 * words <= sum(lengths) / 100 <= 1.45 * words + 25
    assert all(re.search("round|rivers|europe", a) for a in many("answer", 20, "Rivers; Europe", words=400))
    chinese = reply("长江有多长？", kind="answer")
    assert len(HAN.findall(chinese)) > 0.7 * len(chinese)
    assert reply("长江有多长？", kind="answer", language="en").isascii()


@pytest.mark.parametrize("code", sorted(lexicon()))
def test_a_question_in_another_language_is_answered_in_it(code: str) -> None:
    asked = translated("Why does the river near our village freeze so late in winter?", code)
    assert language_of(asked) == code
    assert language_of(reply(asked, kind="answer")) == code


ANSWER_FAULTS = {
    "refusal": lambda a: "orry" in a and len(a.split()) < 80,
    "unfinished": lambda a: a[-1:].isalpha() or a[-1:] == ",",
    "empty": lambda a: a == "",
    "repeated": lambda a: a.count("It is important to note") == 12,
    "contact": lambda a: re.search(r"[\w.]+@example\.(?:com|org)", a) is not None,
    "punctuation": lambda a: a == "...",
}


@pytest.mark.parametrize("name", ANSWER_FAULTS)
def test_each_answer_fault_comes_at_its_share(name: str) -> None:
    shown = ANSWER_FAULTS[name]
    assert sum(map(shown, many("answer", shares={name: 0.3}))) / 400 == pytest.approx(0.3, abs=0.08)
    assert not any(map(shown, many("answer", 100)))


SOURCE = """# Title

Use `foo(x)` at https://example.com/a?b=1 for ⟦0⟧ and 3,500.25 apples, or write to a.b@example.com; see $x^2$.

1. First {name} step
- second step

```py
print("hello world")
```"""


@pytest.mark.parametrize("to", ["zh", "de", "ja", "ru"])
def test_a_translation_keeps_what_must_not_change(to: str) -> None:
    made = reply(SOURCE, kind="translate", to=to)
    kept = [m[0].strip() for m in PROTECTED.finditer(SOURCE)]
    assert {"`foo(x)`", "⟦0⟧", "3,500.25", "$x^2$", "{name}", "a.b@example.com"} < set(kept)
    assert [m[0].strip() for m in PROTECTED.finditer(made)] == kept
    assert made.count("\n") == SOURCE.count("\n")
    assert not {"Use", "apples", "First", "second"} & set(re.findall(r"\w+", made))


def test_a_translation_is_of_its_language_and_word_by_word() -> None:
    made = reply("The house stands near the river. The river is long.", kind="translate", to="zh")
    assert HAN.search(made)
    assert not re.search("[A-Za-z ]", made)
    spaced = reply("Use `foo` at https://example.com/a now.", kind="translate", to="zh")
    assert re.search(r"[\u4e00-\u9fff] `foo` [\u4e00-\u9fff]+ https://example\.com/a [\u4e00-\u9fff]", spaced)
    assert made.endswith("。")
    german = reply("水在高海拔的沸点是100度。", kind="translate", to="de")
    assert {w.lower() for w in re.findall(r"[^\W\d]+", german)} <= {w.lower() for w in lexicon()["de"]}
    assert re.search(r"\b100\b", german)


@pytest.mark.parametrize(
    ("prompt", "code"),
    [
        ("Translate the text into Chinese.", "zh"),
        ("Translate from English to German: x", "de"),
        ("请把下面的文字翻译成法语。", "fr"),
        ("目标语言：日语", "ja"),
        ("Give it to it in time.", None),
    ],
)
def test_the_target_language_is_read_from_the_prompt(prompt: str, code: str | None) -> None:
    assert named_language(prompt) == code


def test_translations_fail_at_their_shares() -> None:
    shares = {"answered": 0.1, "dropped_placeholder": 0.1, "untranslated": 0.1, "preamble": 0.1, "empty": 0.1}
    setting = {"kind": "translate", "to": "zh", "take": r"TEXT: (.*)", "shares": shares}
    rule = parse_script({"rules": [{"reply": setting}]}).rules[0]
    made = [say(rule, chat(f"{i} TEXT: Use ⟦0⟧ with the river.")).text for i in range(1000)]
    kinds = sorted_by(
        made,
        {
            "empty": lambda m: not m,
            "untranslated": lambda m: m.startswith("Use"),
            "preamble": lambda m: "translat" in m,
            "translated": lambda m: "⟦0⟧" in m,
            "dropped_placeholder": lambda m: len(m) < 20,
            "answered": lambda m: len(m) >= 20,
        },
    )
    assert {k: v / 1000 for k, v in kinds.items()} == pytest.approx({**shares, "translated": 0.5}, abs=0.04)


def test_scores_are_steps_on_the_first_line() -> None:
    made = many("score", 1000, shares={"unparsable": 0.1, "out_of_range": 0.1})
    numbers = [float(m.split("\n")[0]) for m in made if re.match(r"[\d.]+\n\S", m)]
    assert len(numbers) / 1000 == pytest.approx(0.9, abs=0.03)
    inside = [n for n in numbers if n <= 5]
    assert len(inside) / 1000 == pytest.approx(0.8, abs=0.04)
    assert {n * 2 % 1 for n in inside} == {0}
    assert len(set(inside)) >= 6
    assert sum(inside) / len(inside) == pytest.approx(3.9, abs=0.3)
    assert not any(re.search(r"\d", m) for m in made if not re.match(r"[\d.]+\n", m))
    other = many("score", low=1, high=10, step=1, mean=3, template="Score: {{score}}")
    assert {m.split(":")[0] for m in other} == {"Score"}
    assert {float(m.split(":")[1]) % 1 for m in other} == {0}


def test_verdicts() -> None:
    yes = many("yes_no", yes_share=0.2)
    assert set(yes) == {"Yes", "No"}
    assert yes.count("Yes") / 400 == pytest.approx(0.2, abs=0.07)
    assert set(many("yes_no", prompt="这两条指令是否相同？")) == {"是", "否"}
    assert set(many("yes_no", words=["Equal", "Not Equal"])) == {"Equal", "Not Equal"}
    labels = many("label", labels=["a", "b", "c"], shares={"unparsable": 0.25})
    assert sum(m in "abc" for m in labels) / 400 == pytest.approx(0.75, abs=0.07)
    assert all("\n" in m for m in many("label", 9, labels=["a"], reason=True))


def test_templates_and_text() -> None:
    assert reply("hi", kind="text", text="{{text}}") == "{{text}}"
    assert (
        reply("say <b>bold</b>", kind="template", template="[{{ text }}/{{model}}]", take="<b>(.*)</b>") == "[bold/m]"
    )
    assert reply("hi", kind="template", template="{{hash}}") == chat("hi").key


def test_the_first_rule_that_holds_replies() -> None:
    def literal(said: str, /, **when: str) -> dict[str, Any]:
        return {"when": when, "reply": {"kind": "text", "text": said}}

    script = parse_script(
        {
            "rules": [
                literal("path", path="completions"),
                literal("model", model="^judge"),
                literal("system", system="strict"),
                literal("text", text="^b$"),
                literal("any", any="earlier"),
            ]
        }
    )

    def said(question: Question) -> str:
        return say(script.rule(question), question).text

    def talk(*turns: tuple[str, str], model: str = "m") -> Question:
        messages = [{"role": role, "content": content} for role, content in turns]
        return Question("chat", {"model": model, "messages": messages})

    assert said(Question("completions", {"model": "judge", "prompt": "b"})) == "path"
    assert said(talk(("user", "b"), model="judge-1")) == "model"
    assert said(talk(("system", "be strict"), ("user", "b"))) == "system"
    assert said(talk(("user", "a\nb"))) == "text"
    assert said(talk(("user", "earlier"), ("assistant", "x"), ("user", "c"))) == "any"
    assert script.rule(talk(("user", "c"))).name == "fallback"


def test_thinking_comes_apart_or_in_a_tag() -> None:
    rule = parse_script({"rules": [{"reply": {"kind": "text", "text": "4", "thinking": {"words": 30}}}]}).rules[0]
    said = say(rule, chat("2+2"))
    assert said.text == "4"
    assert len(said.thinking.split()) >= 30
    assert re.fullmatch(
        r"<think>\n.+\n</think>\n\n4", reply("2+2", kind="text", text="4", thinking={"words": 9, "as": "tag"})
    )


def test_the_language_of_a_text() -> None:
    assert [tongue_of(t) for t in ("hello", "你好", "用 Python 写一个函数", "The word 猫 means cat", "")] == [
        "en", "zh", "zh", "en", "en"]  # fmt: skip


@pytest.mark.parametrize("text", ["", "abcde", "héllo wörld", "你好，世界", "a你b好cd", "🙂🙂 ok", "x" * 99])
def test_tokens_cover_the_text_and_are_never_more_than_its_bytes(text: str) -> None:
    pieces = tokens.split(text)
    assert "".join(pieces) == text
    assert tokens.count(text) == len(pieces) <= len(text.encode())
    for limit in range(len(pieces) + 2):
        assert tokens.cut(text, limit) == "".join(pieces[:limit])


SCHEMAS: list[dict[str, Any]] = [
    {
        "type": "object",
        "properties": {
            "score": {"type": "number", "minimum": 0, "maximum": 5, "multipleOf": 0.5},
            "reason": {"type": "string", "minLength": 10},
            "label": {"enum": ["good", "bad"]},
            "spare": {"type": "string"},
        },
        "required": ["score", "reason", "label"],
        "additionalProperties": False,
    },
    {
        "type": "object",
        "required": ["items"],
        "properties": {"items": {"type": "array", "minItems": 2, "items": {"$ref": "#/$defs/item"}}},
        "$defs": {"item": {"type": "object", "required": ["n", "ok"], "properties": {
            "n": {"type": "integer", "exclusiveMinimum": 3, "maximum": 4}, "ok": {"type": ["boolean", "null"]}}}},
    },
    {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
    {"allOf": [{"type": "integer"}, {"minimum": 7}]},
    {"const": {"a": [1]}},
    {"type": "array", "prefixItems": [{"type": "boolean"}, {"type": "null"}], "minItems": 2},
]  # fmt: skip


@pytest.mark.parametrize("schema", SCHEMAS)
def test_a_reply_in_a_schema_is_an_instance_of_it(schema: dict[str, Any]) -> None:
    script = parse_script({"rules": []})
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    for i in range(20):
        question = chat(f"rate {i}", response_format=wanted)
        body, _ = complete(script, question, script.rule(question), None)
        Draft202012Validator(schema).validate(json.loads(body["choices"][0]["message"]["content"]))


def test_a_reply_that_already_fits_the_schema_stays() -> None:
    text = '{"score": 4.5, "reason": "well written", "label": "good"}'
    script = parse_script({"rules": [{"reply": {"kind": "text", "text": text}}]})
    for wanted in ({"type": "json_object"}, {"type": "json_schema", "json_schema": {"schema": SCHEMAS[0]}}):
        question = chat("rate", response_format=wanted)
        body, _ = complete(script, question, script.rule(question), None)
        assert body["choices"][0]["message"]["content"] == text


@pytest.mark.parametrize(
    "wanted",
    [
        {"type": "xml"},
        {"type": "json_schema"},
        {"type": "json_schema", "json_schema": {"schema": {"type": "objekt"}}},
        {"type": "json_schema", "json_schema": {"schema": {"type": "string", "pattern": "^[0-9]{9}$"}}},
    ],
)
def test_a_schema_that_cannot_be_served_is_a_400(wanted: dict[str, Any]) -> None:
    question = chat("rate", response_format=wanted)
    script = parse_script({"rules": []})
    with pytest.raises(Objection) as caught:
        complete(script, question, script.rule(question), None)
    assert caught.value.status == 400
    assert len(str(caught.value).split()) > 4
