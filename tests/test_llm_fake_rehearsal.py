"""The rehearsal's script knows every prompt of ours."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipeline.llm.fake.question import Question
from pipeline.llm.fake.replies import say
from pipeline.llm.fake.script import load_script
from pipeline.prompt import _PLACEHOLDER, _SECTION, Prompt

FILES = sorted((Path(__file__).parent.parent / "pipeline" / "prompts").glob("*.txt"))
PROMPTS = [path for path in FILES if ".rubric." not in path.name and not path.name.startswith("json.form")]
"""A rubric or a form is stated within another prompt, never alone."""

SCRIPT = load_script()


def asked(path: Path, **values: str) -> Question:
    """The question that a prompt makes, with plausible values for its placeholders."""
    chinese = path.stem.endswith(".zh")
    defaults = {"first": "4", "last": "13", "count": "10", "shown": "3"}
    sentence = (
        "把下面这句话改写得更礼貌一些。" if chinese else "Rewrite the sentence below so that it sounds more polite."
    )
    prompt = Prompt(path.stem, path.read_text(encoding="utf-8"))
    given = {name: values.get(name, defaults.get(name, sentence)) for name in _PLACEHOLDER.findall(prompt.text)}
    if not _SECTION.match(prompt.text):
        return Question("completions", {"model": "m", "prompt": prompt.render(**given), "max_tokens": 1000})
    messages = [{"role": m.role, "content": m.content} for m in prompt.messages(**given)]
    return Question("chat", {"model": "m", "messages": messages})


@pytest.mark.parametrize("path", PROMPTS, ids=lambda p: p.stem)
def test_every_prompt_is_answered_by_the_rule_of_its_name(path: Path) -> None:
    rule = SCRIPT.rule(asked(path))
    assert path.stem.startswith(f"{rule.name}."), f"the rule '{rule.name}' answers the prompt {path.name}"


DEMONSTRATIONS = {
    "en": "###\n{n}. Instruction: Name river number {n} and its end.\n{n}. Input: <noinput>\n{n}. Output: The Rhine.",
    "zh": "###\n{n}. 指令：说出第{n}条长河的名称和流向。\n{n}. 输入：<无输入>\n{n}. 输出：莱茵河。",
}


def replies(path: Path, rounds: int, **values: str) -> list[str]:
    made = []
    for i in range(rounds):
        question = asked(path, instruction=f"Task {i}", **values)
        body: dict[str, Any] = json.loads(json.dumps({**question.body, "seed": i}))
        again = Question(question.path, body)
        made.append(say(SCRIPT.rule(again), again).text)
    return made


def named(prefix: str) -> list[Path]:
    return [path for path in PROMPTS if path.stem.startswith(prefix)]


@pytest.mark.parametrize("path", named("self_instruct.joint"), ids=lambda p: p.stem)
def test_the_parser_of_tasks_reads_most_of_them_and_finds_the_faults(path: Path) -> None:
    from pipeline.stages.task_list import parse_tasks

    shown = "\n".join(DEMONSTRATIONS[path.stem[-2:]].format(n=n) for n in (1, 2, 3))
    reasons, tasks, instructions = Counter[str](), 0, set()
    for text in replies(path, 60, demonstrations=shown):
        found = parse_tasks(text, 4, opened=".completion." in path.stem)
        numbers = [piece.number or 0 for piece in found.pieces if piece.reason is None]
        assert numbers == sorted(numbers)
        assert set(numbers) <= set(range(4, 14))
        tasks += len(numbers)
        instructions |= {piece.instruction for piece in found.pieces if piece.reason is None}
        reasons.update(piece.reason for piece in found.pieces if piece.reason)
        reasons.update(found.drift)
    assert 0.85 * 600 <= tasks < 600
    assert len(instructions) > 0.9 * tasks
    assert {"missing-output", "empty-output", "separator", "no_input_label"} <= set(reasons)
    assert (".chat." in path.stem) == (reasons["preamble"] > 0)


@pytest.mark.parametrize(
    "path", named("self_instruct.instruction") + named("self_instruct.standalone"), ids=lambda p: p.stem
)
def test_the_parser_of_lists_reads_them(path: Path) -> None:
    from pipeline.stages.task_list import parse_instructions

    shown = "\n".join(f"{n}. 说出第{n}条长河的名称。" for n in (1, 2, 3))
    for text in replies(path, 20, demonstrations=shown):
        found = parse_instructions(text, 4, opened=".completion." in path.stem)
        assert [piece.number for piece in found.pieces if piece.reason is None] == list(range(4, 14))


@pytest.mark.parametrize("path", named("self_instruct.instance") + named("self_instruct.label"), ids=lambda p: p.stem)
def test_the_parser_of_instances_reads_them(path: Path) -> None:
    from pipeline.stages.task_instance import INPUT_FIRST, LABEL_FIRST, parse_instance

    order = INPUT_FIRST if ".instance." in path.stem else LABEL_FIRST
    pieces = [parse_instance(text, order, opened=".completion." in path.stem) for text in replies(path, 40)]
    assert {piece.reason for piece in pieces} == {None}
    assert len({piece.output for piece in pieces}) > 4
    assert {piece.input == "" for piece in pieces} == {True, False}


OPERATORS = ("add_constraints", "deepen", "concretize", "add_reasoning", "complicate_input", "broaden")


@pytest.mark.parametrize("path", [p for o in OPERATORS for p in named(f"evol_instruct.{o}.")], ids=lambda p: p.stem)
def test_an_evolution_is_of_the_task_in_the_prompt(path: Path) -> None:
    task = "列出三种\n常见的水果。" if path.stem.endswith(".zh") else "Name three\ncommon fruits."
    made = replies(path, 100, task=task)
    if ".broaden." in path.stem:
        assert sum(task in text for text in made) < 15
        assert len(set(made)) > 70
    else:
        assert sum(text.startswith(task) and text != task for text in made) > 70
        assert task in made
        assert any("\n" in text.removeprefix(task) for text in made if text.startswith(task)) == (".chat." in path.stem)


@pytest.mark.parametrize("path", named("score.json") + named("evol_instruct.judge_json"), ids=lambda p: p.stem)
def test_most_replies_in_json_are_of_the_form(path: Path) -> None:
    from pipeline.llm.json_text import NotJson, read_json
    from pipeline.stages import comparison, judge

    form = judge.FORM if path.stem.startswith("score") else comparison.FORM
    good = 0
    for text in replies(path, 100):
        try:
            good += not form.faults(read_json(text))
        except NotJson:
            continue
    assert 85 < good < 100
