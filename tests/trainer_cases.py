"""Hand-built rows for every rule of every trainer: a shape's good rows, and bad ones with what would become of them."""

import json
from pathlib import Path
from typing import Any, NamedTuple

Row = dict[str, Any]


class Case(NamedTuple):
    """Good rows of a shape, and bad rows, each with the effect and reason of its first objection."""

    name: str
    good: list[Row]
    bad: list[tuple[str, str, Row]]


def gpt(*texts: Any, roles: tuple[str, ...] = ("human", "gpt"), **more: Any) -> Row:
    """A ShareGPT row of texts whose roles alternate."""
    return {"conversations": [{"from": roles[i % len(roles)], "value": text} for i, text in enumerate(texts)], **more}


def chat(*turns: tuple[Any, Any] | Row, **more: Any) -> Row:
    """An OpenAI row of (role, content)."""
    return {"messages": [t if isinstance(t, dict) else {"role": t[0], "content": t[1]} for t in turns], **more}


def turns(*pairs: tuple[Any, Any]) -> Row:
    """A ShareGPT row of (role, text)."""
    return {"conversations": [{"from": role, "value": text} for role, text in pairs]}


def ask(instruction: Any = "Say hi", input: Any = "", output: Any = "Hi", **more: Any) -> Row:
    """An Alpaca row."""
    return {"instruction": instruction, "input": input, "output": output, **more}


CALL = '{"name": "f", "arguments": {"x": 1}}'
TOOLS = '[{"name": "f", "description": "", "parameters": {"type": "object", "properties": {}, "required": []}}]'
TALK = gpt("Say hi", "Hi")
LONG = gpt("Say hi", "Hi", "Say bye", "Bye")
SYSTEM = turns(("system", "Be brief"), ("human", "Say hi"), ("gpt", "Hi"))
TOOL_TALK = [
    {**turns(("human", "Call f"), ("function_call", CALL), ("observation", "1"), ("gpt", "One")), "tools": TOOLS},
    {
        **turns(("human", "Call f"), ("function_call", f"[{CALL}, {CALL}]"), ("observation", "1"), ("gpt", "1")),
        "tools": "",
    },
]
SAID, BETTER, WORSE = ("user", "Say hi"), ("assistant", "Hi"), ("assistant", "No")
USER = {"role": "user", "content": "Say hi"}
ANSWER, OTHER = {"role": "assistant", "content": "Hi"}, {"role": "assistant", "content": "No"}
CALLED = {
    "role": "assistant",
    "content": "",
    "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}],
}
TOLD = {"role": "tool", "content": "1", "tool_call_id": "c"}
PAIR = {"chosen": {"from": "gpt", "value": "Hi"}, "rejected": {"from": "gpt", "value": "No"}}

LLAMA_FACTORY = [
    Case(
        "sharegpt",
        [TALK, LONG, SYSTEM, *TOOL_TALK],
        [
            ("stops", "missing-conversation", {"conversations": None}),
            ("skipped", "unknown-role", turns(("human", "Hi"), ("bot", "Hi"))),
            ("skipped", "unknown-role", turns(("human", "Hi"), (None, "Hi"))),
            ("skipped", "role-order", turns(("gpt", "Hi"), ("human", "Hi"))),
            ("skipped", "role-order", turns(("human", "a"), ("human", "b"), ("gpt", "c"))),
            ("skipped", "role-order", turns(("human", "a"), ("system", "b"))),
            ("skipped", "role-order", turns(("human", "a"), ("function_call", CALL), ("gpt", "b"), ("gpt", "c"))),
            ("skipped", "no-turns", {"conversations": []}),
            ("skipped", "no-turns", turns(("system", "Be brief"))),
            ("skipped", "odd-turn-count", gpt("Say hi", "Hi", "Say bye")),
            ("skipped", "odd-turn-count", gpt("Say hi")),
            ("stops", "content-not-text", turns(("human", "Say hi"), ("gpt", None))),
            ("stops", "malformed-tool-call", turns(("human", "Call"), ("function_call", "f(1)"))),
            ("stops", "malformed-tool-call", turns(("human", "Call"), ("function_call", '{"name": "f"}'))),
            ("stops", "malformed-tools", {**TALK, "tools": "{f"}),
            ("wrong", "empty-question", gpt("", "Hi")),
            ("wrong", "empty-question", gpt("Say hi", "Hi", " ", "Yes")),
            ("wrong", "empty-answer", gpt("Say hi", "")),
            ("wrong", "empty-answer", gpt("Say hi", "\u200b")),
            (
                "note",
                "turn-key-ignored",
                {"conversations": [*TALK["conversations"][:1], {"from": "gpt", "value": "Hi", "weight": 0}]},
            ),
        ],
    ),
    Case(
        "tools as a list",
        [TALK],
        [("stops", "malformed-tools", {**TALK, "tools": [{"name": "f"}]})],
    ),
    Case(
        "preference",
        [gpt("Say hi", **PAIR), gpt("Say hi", "Hi", "Again", **PAIR), gpt("a", **PAIR)],
        [
            ("skipped", "even-turn-count", gpt("Say hi", "Hi", **PAIR)),
            ("skipped", "no-pair", gpt("Say hi", chosen=PAIR["chosen"], rejected=None)),
            ("stops", "choice-role", gpt("Say hi", **{**PAIR, "chosen": {"from": "bot", "value": "Hi"}})),
            ("wrong", "choice-role", gpt("Say hi", **{**PAIR, "rejected": {"from": "human", "value": "No"}})),
            ("wrong", "empty-answer", gpt("Say hi", **{**PAIR, "chosen": {"from": "gpt", "value": ""}})),
            ("note", "equal-pair", gpt("Say hi", chosen=PAIR["chosen"], rejected=PAIR["chosen"])),
        ],
    ),
    Case(
        "verdicts",
        [gpt("Say hi", "Hi", kto_tag=True), gpt("Say hi", "No", kto_tag=False), gpt("Say", "Hi", kto_tag=True)],
        [
            ("skipped", "no-label", gpt("Say hi", "Hi", kto_tag=None)),
            ("wrong", "empty-answer", gpt("Say hi", "", kto_tag=True)),
        ],
    ),
    Case(
        "messages",
        [chat(SAID, BETTER), chat(("system", "Be brief"), SAID, BETTER)],
        [
            ("skipped", "role-order", chat(SAID, BETTER, BETTER)),
            ("skipped", "odd-turn-count", chat(SAID)),
            ("wrong", "tool-calls-lost", chat(SAID, CALLED)),
            ("stops", "content-not-text", chat(SAID, {**CALLED, "content": None})),
        ],
    ),
    Case(
        "alpaca",
        [
            ask(),
            ask(input="there"),
            ask(instruction="", input="Say hi"),
            ask(history=[["a", "b"]]),
            ask(system="Be brief", tools=TOOLS),
        ],
        [
            ("stops", "malformed-history", ask(history=[["a"]])),
            ("stops", "malformed-history", ask(history=[["a", None]])),
            ("skipped", "no-answer", ask(output=None)),
            ("wrong", "empty-question", ask(instruction="", input=None)),
            ("wrong", "empty-answer", ask(output="")),
            ("stops", "malformed-tools", ask(tools="[")),
        ],
    ),
    Case("alpaca texts", [ask()], [("stops", "content-not-text", ask(instruction=3))]),
    Case(
        "alpaca preference",
        [{"instruction": "Say hi", "input": "", "chosen": "Hi", "rejected": "No"} for _ in range(3)],
        [
            ("skipped", "no-pair", {"instruction": "Say hi", "input": "", "chosen": "Hi", "rejected": None}),
            ("wrong", "empty-answer", {"instruction": "Say hi", "input": "", "chosen": "", "rejected": "No"}),
        ],
    ),
    Case(
        "alpaca verdicts",
        [ask(kto_tag=True), ask(kto_tag=False), ask(kto_tag=True)],
        [
            ("skipped", "no-label", ask(kto_tag=None)),
            ("wrong", "empty-answer", ask(output="", kto_tag=True)),
            ("stops", "no-answer", ask(output=None, kto_tag=False)),
        ],
    ),
    Case(
        "prompt",
        [{"prompt": "Say hi", "completion": "Hi"}],
        [
            ("skipped", "no-answer", {"prompt": "Say hi", "completion": None}),
            ("wrong", "empty-question", {"prompt": "", "completion": "Hi"}),
        ],
    ),
    Case(
        "text",
        [{"text": "Hi"}, {"text": "Bye"}],
        [("wrong", "empty-text", {"text": ""}), ("wrong", "empty-text", {"text": None})],
    ),
]

TRL = [
    Case(
        "messages",
        [chat(SAID, BETTER), chat(("system", "Be brief"), SAID, BETTER), chat(SAID, CALLED, TOLD, BETTER, tools=TOOLS)],
        [
            ("stops", "missing-conversation", {"messages": None}),
            ("stops", "no-turns", {"messages": []}),
            ("stops", "role-missing", chat((None, "Say hi"), BETTER)),
            ("stops", "content-not-text", chat(("user", None), BETTER)),
            ("stops", "malformed-tools", chat(SAID, BETTER, tools="[")),
            ("stops", "no-answer", chat(SAID)),
            ("wrong", "unknown-role", chat(("bot", "Say hi"), BETTER)),
            ("wrong", "empty-answer", chat(SAID, ("assistant", ""))),
            ("wrong", "empty-question", chat(("user", " "), BETTER)),
            ("note", "role-order", chat(SAID, SAID, BETTER)),
            ("note", "last-turn-not-answer", chat(SAID, BETTER, SAID)),
        ],
    ),
    Case(
        "sharegpt",
        [TALK, LONG, SYSTEM],
        [
            ("stops", "no-answer", gpt("Say hi")),
            ("wrong", "empty-answer", gpt("Say hi", "")),
            ("wrong", "unknown-role", turns(("human", "Hi"), ("gpt", "Hi"), ("bot", "Hi"))),
        ],
    ),
    Case(
        "prompt",
        [{"prompt": "Say hi", "completion": "Hi"}],
        [
            ("stops", "content-not-text", {"prompt": "Say hi", "completion": None}),
            ("stops", "content-not-text", {"prompt": None, "completion": "Hi"}),
            ("wrong", "empty-answer", {"prompt": "Say hi", "completion": ""}),
            ("wrong", "empty-question", {"prompt": "", "completion": "Hi"}),
        ],
    ),
    Case(
        "prompt turns",
        [{"prompt": [USER], "completion": [ANSWER]}, {"prompt": [USER], "completion": [OTHER]}],
        [
            ("stops", "choice-not-list", {"prompt": [USER], "completion": None}),
            ("stops", "no-turns", {"prompt": [], "completion": [ANSWER]}),
            ("wrong", "empty-answer", {"prompt": [USER], "completion": [{"role": "assistant", "content": ""}]}),
            ("wrong", "unknown-role", {"prompt": [USER], "completion": [{"role": "bot", "content": "Hi"}]}),
        ],
    ),
    Case(
        "preference",
        [{"prompt": [USER], "chosen": [ANSWER], "rejected": [OTHER]} for _ in range(3)],
        [
            ("stops", "choice-not-list", {"prompt": [USER], "chosen": [ANSWER], "rejected": None}),
            ("note", "equal-pair", {"prompt": [USER], "chosen": [ANSWER], "rejected": [ANSWER]}),
        ],
    ),
    Case(
        "implicit",
        [{"chosen": [USER, ANSWER], "rejected": [USER, OTHER]} for _ in range(3)],
        [("stops", "choice-not-list", {"chosen": [USER, ANSWER], "rejected": None})],
    ),
    Case(
        "verdicts",
        [{"prompt": [USER], "completion": [ANSWER], "label": i % 2 == 0} for i in range(3)],
        [("wrong", "no-label", {"prompt": [USER], "completion": [ANSWER], "label": None})],
    ),
    Case("text", [{"text": "Hi"}], [("wrong", "empty-text", {"text": ""})]),
]

AXOLOTL = [
    Case(
        "messages",
        [chat(SAID, BETTER), chat(SAID, CALLED, TOLD, BETTER, tools=TOOLS)],
        [
            ("stops", "missing-conversation", {"messages": None}),
            ("stops", "no-turns", {"messages": []}),
            ("stops", "content-not-text", chat(("user", None), BETTER)),
            (
                "stops",
                "malformed-tool-call",
                chat(SAID, {**CALLED, "tool_calls": [{"function": {"name": "f", "arguments": "{x"}}]}),
            ),
            ("stops", "malformed-tools", chat(SAID, BETTER, tools="{}")),
            ("stops", "malformed-tools", chat(SAID, BETTER, tools="")),
            ("skipped", "no-answer", chat(SAID)),
            ("skipped", "empty-answer", chat(SAID, ("assistant", ""))),
            ("wrong", "empty-answer", chat(SAID, ("assistant", ""), SAID, BETTER)),
            ("wrong", "empty-question", chat(("user", ""), BETTER)),
            ("wrong", "unknown-role", chat(("bot", "Hi"), BETTER)),
            ("wrong", "last-turn-not-answer", chat(SAID, BETTER, SAID)),
            ("note", "role-order", chat(SAID, SAID, BETTER)),
        ],
    ),
    Case("sharegpt", [TALK, LONG, SYSTEM, *TOOL_TALK[:1]], [("skipped", "no-answer", gpt("Say hi"))]),
    Case(
        "preference",
        [gpt("Say hi", **PAIR), gpt("a", **PAIR), gpt("b", **PAIR)],
        [
            ("stops", "choice-role", gpt("Say hi", **{**PAIR, "chosen": {"from": "bot", "value": "Hi"}})),
            ("stops", "no-pair", gpt("Say hi", **{**PAIR, "rejected": None})),
            ("wrong", "empty-answer", gpt("Say hi", **{**PAIR, "chosen": {"from": "gpt", "value": ""}})),
            ("note", "equal-pair", gpt("Say hi", chosen=PAIR["chosen"], rejected=PAIR["chosen"])),
        ],
    ),
    Case(
        "alpaca",
        [ask(), ask(input="there")],
        [
            ("skipped", "empty-answer", ask(output="")),
            ("skipped", "empty-answer", ask(output=None)),
            ("wrong", "empty-answer", ask(output=" ")),
            ("wrong", "content-not-text", ask(instruction=None)),
            ("wrong", "empty-question", ask(instruction="")),
            ("wrong", "history-lost", ask(history=[["a", "b"]])),
        ],
    ),
    Case("alpaca texts", [ask(), ask()], [("stops", "content-not-text", ask(output=3))]),
    Case(
        "prompt pairs",
        [{"prompt": "Say hi", "chosen": "Hi", "rejected": "No"} for _ in range(3)],
        [
            ("wrong", "content-not-text", {"prompt": None, "chosen": "Hi", "rejected": "No"}),
            ("wrong", "empty-answer", {"prompt": "Say hi", "chosen": "", "rejected": "No"}),
        ],
    ),
    Case("text", [{"text": "Hi"}], [("wrong", "empty-text", {"text": ""})]),
]

UNSLOTH = [
    Case(
        "sharegpt",
        [TALK, LONG, SYSTEM, turns(("Human ", "Say hi"), ("GPT", "Hi"))],
        [
            ("stops", "missing-conversation", {"conversations": None}),
            ("stops", "unknown-role", turns(("human", "a"), ("function_call", CALL))),
            ("stops", "unknown-role", turns(("human", "a"), ("gpt", "b"), ("tool", "c"))),
            ("stops", "content-not-text", turns(("human", "Say hi"), ("gpt", None))),
            ("skipped", "no-answer", gpt("Say hi")),
            ("wrong", "empty-answer", gpt("Say hi", "")),
            ("wrong", "empty-question", gpt("", "Hi")),
            ("wrong", "marker-in-text", gpt("Say <|im_start|>assistant", "Hi")),
            ("note", "role-order", gpt("a", "b", "c", roles=("human", "human", "gpt"))),
        ],
    ),
    Case("messages", [chat(SAID, BETTER), chat(SAID, CALLED, TOLD, BETTER)], [("skipped", "no-answer", chat(SAID))]),
    Case(
        "alpaca",
        [ask(), ask(input="there")],
        [
            ("wrong", "empty-answer", ask(output="")),
            ("wrong", "empty-answer", ask(output=None)),
            ("wrong", "empty-question", ask(instruction="")),
            ("note", "column-ignored", ask(system="Be brief")),
        ],
    ),
    Case(
        "text",
        [{"text": "<|im_start|>user\nSay hi<|im_end|>\n<|im_start|>assistant\nHi<|im_end|>\n"}],
        [
            ("skipped", "response-part-missing", {"text": "<|im_start|>user\nSay hi<|im_end|>\n"}),
            ("skipped", "response-part-missing", {"text": ""}),
            ("wrong", "empty-text", {"text": None}),
        ],
    ),
    *TRL[2:7],
]

FASTCHAT = [
    Case(
        "sharegpt",
        [TALK, LONG],
        [
            ("stops", "missing-conversation", {"conversations": None}),
            ("stops", "no-turns", {"conversations": []}),
            ("stops", "unknown-role", turns(("system", "Be brief"), ("human", "Say hi"), ("gpt", "Hi"))),
            ("stops", "role-order", turns(("human", "a"), ("human", "b"))),
            ("stops", "content-not-text", turns(("human", ["a"]), ("gpt", "b"))),
            ("wrong", "first-turn-dropped", turns(("gpt", "Welcome"), ("human", "Hi"), ("gpt", "Hi"))),
            ("wrong", "labels-masked", turns(("gpt", "Welcome"))),
            ("wrong", "labels-masked", gpt("Say hi", "Hi", "Say bye")),
            ("wrong", "empty-answer", gpt("Say hi", "")),
            ("wrong", "empty-question", gpt(None, "Hi")),
            ("wrong", "empty-answer", gpt("Say hi", " ")),
            ("wrong", "separator-in-text", gpt("Say </s>", "Hi")),
            ("note", "column-ignored", gpt("Say hi", "Hi", system="Be brief")),
        ],
    ),
]

OUT = {"preferred_output": [ANSWER], "non_preferred_output": [OTHER]}
OPENAI = [
    Case(
        "messages",
        [chat(SAID, BETTER), chat(SAID, CALLED, TOLD, BETTER, tools=[{"type": "function", "function": {"name": "f"}}])],
        [
            ("stops", "missing-conversation", {"messages": []}),
            ("stops", "unknown-role", chat(("human", "Hi"), BETTER)),
            ("stops", "unknown-key", chat(SAID, {**ANSWER, "thinking": "hm"})),
            ("stops", "content-not-text", chat(("user", None), BETTER)),
            ("stops", "bad-weight", chat(SAID, {**ANSWER, "weight": 0.5})),
            ("stops", "bad-weight", chat({**USER, "weight": 1}, BETTER)),
            ("stops", "malformed-tool-call", chat(SAID, CALLED, {"role": "tool", "content": "1"}, BETTER)),
            ("stops", "malformed-tool-call", chat(SAID, {**CALLED, "tool_calls": [{"function": {"name": "f"}}]})),
            ("stops", "malformed-tools", chat(SAID, BETTER, tools=TOOLS)),
            ("stops", "no-answer", chat(SAID)),
            ("stops", "no-answer", chat(SAID, {**ANSWER, "weight": 0})),
            ("stops", "last-turn-not-answer", chat(SAID, BETTER, SAID)),
            ("wrong", "empty-answer", chat(SAID, ("assistant", ""))),
            ("wrong", "empty-question", chat(("user", ""), BETTER)),
        ],
    ),
    Case(
        "pairs",
        [{"input": {"messages": [USER]}, **OUT} for _ in range(3)],
        [
            ("stops", "missing-conversation", {"input": {"messages": []}, **OUT}),
            ("stops", "no-pair", {"input": {"messages": [USER]}, **OUT, "preferred_output": []}),
            (
                "wrong",
                "empty-answer",
                {"input": {"messages": [USER]}, **OUT, "preferred_output": [{"role": "assistant", "content": ""}]},
            ),
            (
                "note",
                "equal-pair",
                {"input": {"messages": [USER]}, "preferred_output": [ANSWER], "non_preferred_output": [ANSWER]},
            ),
        ],
    ),
]

CASES = {
    "llama-factory": LLAMA_FACTORY,
    "trl": TRL,
    "axolotl": AXOLOTL,
    "unsloth": UNSLOTH,
    "fastchat": FASTCHAT,
    "openai": OPENAI,
}


def write_case(folder: Path, case: Case) -> Path:
    """The case as a file: its good rows, its bad ones, its good ones again, so that the good are the most."""
    many = 1 + len(case.bad) // len(case.good)
    rows = [*case.good, *(row for _, _, row in case.bad), *case.good * many]
    path = folder / "rows.json"
    path.write_text("[" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "]", encoding="utf-8")
    return path
