"""Replies taken apart: every piece is a task or has a reason, and nothing is lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.record import Message, Record
from pipeline.stages.instruction_preset import objections
from pipeline.stages.task_instance import INPUT_FIRST, LABEL_FIRST, parse_instance
from pipeline.stages.task_list import TaskList, parse_instructions, parse_tasks
from pipeline.stages.task_markup import LABELS, lines, listed, shown, without_no_input

_BITS = [
    *("###", "##", "---", "***", "\n", "\n\n", "\r\n", " ", "4.", "5. ", "17) ", "- ", "**", '"', "abc", "Label:"),
    *(
        "Instruction:",
        "4. Instruction: ",
        "Input：",
        "5. Input: ",
        "4. Output:",
        "指令：",
        "输入:",
        "3. 输出：",
        "<noinput>",
    ),
]
REPLIES = st.one_of(st.text(max_size=80), st.lists(st.sampled_from(_BITS), max_size=18).map("".join))


def task(instruction: str, output: str = "It is so.", input: str | None = None) -> Record:
    messages = (Message(role="user", content=instruction), Message(role="assistant", content=output))
    return Record(id=instruction, messages=messages, input=input)


def reasons(found: TaskList) -> list[str | None]:
    return [piece.reason for piece in found.pieces]


@given(REPLIES, st.booleans(), st.booleans())
def test_any_text_is_taken_apart_without_loss(text: str, opened: bool, truncated: bool) -> None:
    for parse in (parse_tasks, parse_instructions):
        found = parse(text, 4, opened=opened, truncated=truncated)
        assert "".join(piece.raw for piece in found.pieces) == (text if text.strip() else "")
        assert all(piece.reason or piece.instruction for piece in found.pieces)
        assert not truncated or not found.pieces or found.pieces[-1].reason == "truncated"
    assert "".join(line.raw for line in lines(text)) == text
    for order in (INPUT_FIRST, LABEL_FIRST):
        piece = parse_instance(text, order, opened=opened)
        assert piece.raw == text
        assert piece.reason or piece.output


@pytest.mark.parametrize("language", list(LABELS))
@given(st.integers(1, 30), st.integers(1, 5))
def test_what_is_shown_as_an_example_is_read_back(language: str, first: int, count: int) -> None:
    made = [
        task(f"Name thing {n}.", f"Thing\n\n{n}\n---\n1. one", f"a\nb {n}" if n % 2 else None) for n in range(count)
    ]
    text = "\n".join(shown(record, first + n, language) for n, record in enumerate(made))  # type: ignore[arg-type]
    found = parse_tasks(text, first)
    assert not found.drift
    assert [(p.instruction, p.input, p.output, p.reason) for p in found.pieces] == [
        (record.instruction, record.input or "", record.output, None) for record in made
    ]
    items = parse_instructions("\n".join(listed(record, first + n) for n, record in enumerate(made)), first)
    assert [p.instruction for p in items.pieces] == [record.instruction for record in made]
    assert not items.drift


def test_separator_drift_is_counted_and_forgiven() -> None:
    one, two, three = (f"{n}. Instruction: Do {n}.\n{n}. Input: <noinput>\n{n}. Output: Done {n}.\n" for n in (4, 5, 6))
    for between in ("##\n", "####\n", "---\n", "", "\n\n"):
        found = parse_tasks(one + between + two + "###\n" + three, 4)
        assert reasons(found) == [None] * 3, between
        assert found.drift == {"separator": 1}
        assert [p.output for p in found.pieces] == ["Done 4.", "Done 5.", "Done 6."]


def test_full_width_colons_bold_labels_and_numbers_on_their_own_line() -> None:
    text = "4.\nInstruction：Add.\nInput：1 2\nOutput：3\n5.\n**Instruction:** Go.\n**Input:** None\n**Output:** Gone."
    found = parse_tasks(text, 4)
    assert [(p.number, p.instruction, p.input, p.output) for p in found.pieces] == [
        (4, "Add.", "1 2", "3"),
        (5, "Go.", "", "Gone."),
    ]


def test_wrong_numbers_are_counted() -> None:
    text = "###\n1. Instruction: a b\n1. Input: x\n1. Output: y\n###\n7. Instruction: c d\n7. Input: x\n7. Output: z"
    found = parse_tasks(text, 4)
    assert reasons(found) == [None, None]
    assert found.drift == {"numbering": 2}


def test_records_run_together_are_split_only_when_there_is_no_doubt() -> None:
    both = "Instruction: a\nInput: b\nOutput: c\nInstruction: d\nOutput: e"
    found = parse_tasks(both, 1)
    assert [(p.instruction, p.output) for p in found.pieces] == [("a", "c"), ("d", "e")]
    assert found.drift == {"split": 1, "no_input_label": 1, "numbering": 2}
    for doubtful in (
        "Instruction: a\nOutput: b\nInstruction: c",
        "4. Instruction: a\n4. Input: b\n4. Output: c\n5. Input: d\n5. Output: e",
        "Instruction: a\nOutput: b\nInput: c",
    ):
        assert reasons(parse_tasks(doubtful, 4)) == ["merged"], doubtful


def test_labels_inside_an_answer_stay_there() -> None:
    text = "4. Instruction: Show one.\n4. Input: <noinput>\n4. Output: Like so:\nInstruction: x\nOutput: y\n## More\nz"
    found = parse_tasks(text, 4)
    assert reasons(found) == [None]
    assert found.pieces[0].output == "Like so:\nInstruction: x\nOutput: y\n## More\nz"


def test_numbers_in_answers_survive_and_the_next_tasks_number_does_not() -> None:
    one = "###\n4. Instruction: Count.\n4. Input: a b\n4. Output:\n2\n"
    found = parse_tasks(one + "###\n5. Instruction: Year?\n5. Input:\nx\n5. Output: 1999\n6.", 4)
    assert [p.output for p in found.pieces] == ["2", "1999"]


def test_only_the_last_piece_of_a_cut_reply_is_suspect() -> None:
    text = "###\n4. Instruction: a b\n4. Input: x\n4. Output: y\n###\n5. Instruction: c d\n5. Input: x\n5. Output: z"
    assert reasons(parse_tasks(text, 4, truncated=True)) == [None, "truncated"]
    assert reasons(parse_tasks(text + "\n###\n6.", 4, truncated=True)) == [None, None, "truncated"]


def test_what_is_no_task_says_why() -> None:
    head = "###\n4. Instruction: Fine.\n4. Input: x\n4. Output: y\n###\n"
    for text, reason in {
        "5. Input: x\n5. Output: y": "missing-instruction",
        "5. Instruction:\n5. Input: x\n5. Output: y": "missing-instruction",
        "5. Instruction: z\n5. Input: x": "missing-output",
        "5. Instruction: z\n5. Input: x\n5. Output:\n": "empty-output",
        "That is all.": "unparsable",
        "5. Instruction: z\n5. Input: x\n5. Input: w\n5. Output: y": "unparsable",
    }.items():
        assert reasons(parse_tasks(head + text, 4)) == [None, reason], text
    swapped = parse_tasks(head + "5. Output: y\n5. Instruction: z", 4)
    assert reasons(swapped) == [None, "missing-instruction", "missing-output"]
    assert reasons(parse_tasks("Here you are:\n" + head, 4)) == ["preamble", None]
    assert reasons(parse_tasks("I cannot do that.", 4)) == ["unparsable"]


def test_a_reply_that_goes_on_after_the_label() -> None:
    text = " Sum up.\n4. Input: <NoInput>\n4. Output: ok\n###\n5. Instruction: Next.\n5. Input: n/a\n5. Output: ok"
    found = parse_tasks(text, 4, opened=True)
    assert [(p.number, p.instruction, p.input) for p in found.pieces] == [(4, "Sum up.", ""), (5, "Next.", "")]
    assert parse_tasks("###\n4. Instruction: Sum up." + text[8:], 4, opened=True).pieces[0].instruction == "Sum up."


def test_a_list_of_instructions() -> None:
    text = (
        'Sure:\n4. **Name a river.**\n5) "Add two numbers\nand a third."\n\n- Spell it.\n\nHope this helps!\nBye.\n7.\n'
    )
    found = parse_instructions(text, 4)
    assert [(p.number, p.instruction, p.reason) for p in found.pieces] == [
        (None, "", "preamble"),
        (4, "Name a river.", None),
        (5, "Add two numbers and a third.", None),
        (None, "Spell it.", None),
        (None, "", "unparsable"),
        (7, "", "missing-instruction"),
    ]
    assert found.drift == {"numbering": 1}
    opened = parse_instructions(" Name a river.\n5. Add.\n6. Cut o", 4, opened=True, truncated=True)
    assert [(p.instruction, p.reason) for p in opened.pieces] == [
        ("Name a river.", None),
        ("Add.", None),
        ("Cut o", "truncated"),
    ]


@pytest.mark.parametrize(
    ("text", "order", "opened", "expected"),
    [
        ("Input: a\nOutput: b\nc", INPUT_FIRST, False, ("a", "b\nc", None)),
        ("Here:\nInput: <no input>\nOutput: b", INPUT_FIRST, False, ("", "b", None)),
        (" a\nOutput: b", INPUT_FIRST, True, ("a", "b", None)),
        ("Output: b", INPUT_FIRST, False, ("", "b", None)),
        ("输入：甲\n输出：乙", INPUT_FIRST, False, ("甲", "乙", None)),
        ("Input: a", INPUT_FIRST, False, ("a", "", "missing-output")),
        ("Input: a\nOutput:", INPUT_FIRST, False, ("a", "", "empty-output")),
        ("Input: a\nOutput: b\nInput: c\nOutput: d", INPUT_FIRST, False, ("", "", "merged")),
        ("whatever", INPUT_FIRST, False, ("", "", "unparsable")),
        ("Label: yes\nInput: a", LABEL_FIRST, False, ("a", "yes", None)),
        ("Class label: yes\nInput: <noinput>", LABEL_FIRST, False, ("", "yes", None)),
        ("类别：是\n输入：甲", LABEL_FIRST, False, ("甲", "是", None)),
        (" yes\nInput: a", LABEL_FIRST, True, ("a", "yes", None)),
        ("Input: a\nLabel: yes", LABEL_FIRST, False, ("", "", "unparsable")),
    ],
)
def test_an_example(text: str, order: tuple[str, str], opened: bool, expected: tuple[str, str, str | None]) -> None:
    piece = parse_instance(text, order, opened=opened)  # type: ignore[arg-type]
    assert (piece.input, piece.output, piece.reason) == expected


def test_no_input_in_any_spelling() -> None:
    for text in (
        "<noinput>",
        "< No Input >",
        "N/A",
        "None.",
        "(no_input)",
        "<无输入>",
        "无输入。",
        "不需要输入",
        "无",
        "empty",
    ):
        assert without_no_input(text) == "", text
    for text in ("none of these", "5", "no", "无花果", "An empty box"):
        assert without_no_input(text) == text


def test_presets_object_with_the_value_found() -> None:
    english = ["Write a program", "Draw a cat on the wall", "hi", "Write a poem about cats", "- foo bar baz quux"]
    assert objections([*english, "Écris un poème court"], "alpaca") == [
        ("alpaca-length", 3),
        ("alpaca-blocked-word", "Draw"),
        ("alpaca-length", 1),
        None,
        ("alpaca-start", "-"),
        ("alpaca-start", "É"),
    ]
    chinese = ["写诗", "描述这张图片的内容", "介绍一下GPT-3.5", "写一首关于雨的诗", "长" * 151]
    assert [o and o[0] for o in objections(chinese, "belle")] == [
        "belle-length",
        "belle-blocked-word",
        "belle-blocked-word",
        None,
        "belle-length",
    ]
    assert objections(["x"], "none") == [None]
    assert objections([], "alpaca") == []
