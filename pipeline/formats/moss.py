"""MOSS's conversations with plugins: rounds of a question, thoughts, commands, their results and an answer.

`{"conversation_id", "meta_instruction", "num_turns", "chat": {"turn_1": {"Human", "Inner Thoughts", "Commands", "Tool
Responses", "MOSS"}}}`, each text between a mark such as `<|Human|>:` and an end such as `<eoh>`; see SFT_data and
finetune_moss.py of OpenMOSS/MOSS. Commands are tool calls of one text each, `None` is none.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from pipeline.formats.decode import decode_line
from pipeline.formats.extras import leftover
from pipeline.formats.fit import Room, asked, system_text
from pipeline.formats.json_text import bare_calls, dumps
from pipeline.formats.packed import OUTER_SPACE
from pipeline.formats.shape import Bad, Fields, Format, text_or_none, wrong_type
from pipeline.formats.turns import content_losses
from pipeline.record import Message, Record

ROOM = Room(system=True)
PARTS = {
    "Human": ("<|Human|>: ", "<eoh>\n"),
    "Inner Thoughts": ("<|Inner Thoughts|>: ", "<eot>\n"),
    "Commands": ("<|Commands|>: ", "<eoc>\n"),
    "Tool Responses": ("<|Results|>:\n", "\n<eor>\n"),
    "MOSS": ("<|MOSS|>: ", "<eom>\n"),
}
"""Part of a round -> what stands before its text and after it."""
PARAMETERS = {"Calculate": "expression", "Solve": "equation", "Search": "query", "Text2Image": "description"}
"""Plugin -> its parameter, as the meta instructions name them."""

_AS_IT_IS = "Commands"
"""Name of the one call that stands for commands that could not be taken apart."""

_KNOWN = frozenset(("meta_instruction", "num_turns", "chat"))
_AROUND = re.compile(r"\A\s*(?:<\|[\w ]+\|>:)?(.*?)(?:<eo[htcrm]>)?\s*\Z", re.DOTALL)
_COMMAND = re.compile(r'(\w+)\("(.*)"\)', re.DOTALL)
_NEXT = re.compile(r'(?<="\)), ?(?=\w+\(")')
_TURN = re.compile(r"turn_\d+")
_ROLES = re.compile("(u(ct)?a)*u?")

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "MOSS row",
    "type": "object",
    "properties": {
        "meta_instruction": {"type": "string"},
        "num_turns": {"type": "integer"},
        "chat": {
            "type": "object",
            "properties": {
                "turn_1": {
                    "type": "object",
                    "properties": {name: {"type": "string"} for name in PARTS},
                    "required": ["Human"],
                }
            },
            "required": ["turn_1"],
        },
    },
    "required": ["meta_instruction", "num_turns", "chat"],
}


def recognise(row: Mapping[str, Any]) -> bool:
    """A chat with a meta instruction."""
    return "chat" in row and "meta_instruction" in row


def read(row: dict[str, Any]) -> list[Fields]:
    """The row's one record; thoughts are the thinking before a call, or before the answer of a round without one."""
    chat = row.get("chat")
    if not isinstance(chat, dict):
        raise wrong_type("chat", "an object of rounds", chat)
    system = text_or_none(row, "meta_instruction")
    messages = [Message(role="system", content=system)] if system else []
    rest: dict[str, Any] = {}
    if others := {key: value for key, value in chat.items() if not _TURN.fullmatch(key)}:
        rest["chat."] = others
    for i in range(1, len(chat) - len(others) + 1):
        name = f"turn_{i}"
        if not isinstance(chat.get(name), dict):
            raise wrong_type(f"chat.{name}", "an object", chat.get(name))
        messages += _round(chat[name], f"chat.{name}.")
        if others := {key: value for key, value in chat[name].items() if key not in PARTS}:
            rest[f"chat.{name}"] = others
    return [{"messages": tuple(messages), **leftover(row, _KNOWN, rest)}]


def _round(parts: Mapping[str, Any], place: str) -> list[Message]:
    texts = {name: _inside(parts, name, place) for name in PARTS}
    if texts["Human"] is None:
        raise Bad("missing-field", f"{place}Human is missing", f"{place}Human")
    messages = [Message(role="user", content=texts["Human"])]
    thinking, commands, results = (_unless_none(texts[n]) for n in ("Inner Thoughts", "Commands", "Tool Responses"))
    if commands is not None:
        messages.append(Message(role="assistant", content="", thinking=thinking, tool_calls=_calls(commands)))
        messages.append(Message(role="tool", content=results or ""))
        thinking = None
    elif results is not None:
        raise Bad("malformed-tools", f"{place}Tool Responses answer no command", f"{place}Tool Responses")
    if texts["MOSS"] is not None:
        messages.append(Message(role="assistant", content=texts["MOSS"], thinking=thinking))
    return messages


def _inside(parts: Mapping[str, Any], name: str, place: str) -> str | None:
    value = text_or_none(parts, name, place)
    return None if value is None else _AROUND.match(value)[1].strip()  # type: ignore[index]


def _unless_none(text: str | None) -> str | None:
    return None if text in ("None", "") else text


def _calls(commands: str) -> str:
    calls = []
    for command in _NEXT.split(commands):
        match = _COMMAND.fullmatch(command)
        if match is None:  # Written some other way: kept as it is.
            return dumps([_call(_AS_IT_IS, "text", commands)])
        calls.append(_call(match[1], PARAMETERS.get(match[1], "input"), match[2]))
    return dumps(calls)


def _call(name: str, parameter: str, argument: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": dumps({parameter: argument})}}


def write(record: Record) -> dict[str, Any]:
    """The record as a row; see `refuses` for those that have none."""
    chat: dict[str, dict[str, str]] = {}
    turns = asked(record)
    starts = [i for i, m in enumerate(turns) if m.role == "user"]
    for number, (start, end) in enumerate(zip(starts, [*starts[1:], len(turns)], strict=True), 1):
        chat[f"turn_{number}"] = _parts(turns[start:end])
    return {"meta_instruction": system_text(record) or "", "num_turns": len(chat), "chat": chat}


def _parts(turns: tuple[Message, ...]) -> dict[str, str]:
    question, *others = turns
    called = others[0] if others and others[0].tool_calls is not None else None
    texts: dict[str, str | None] = {"Human": question.content}
    if others:
        texts["Inner Thoughts"] = others[0].thinking or "None"
        texts["Commands"] = "None" if called is None else _command_text(called)
        texts["Tool Responses"] = "None" if called is None else others[1].content
        texts["MOSS"] = others[-1].content
    return {
        name: before + (texts[name] or "").strip() + after for name, (before, after) in PARTS.items() if name in texts
    }


def _command_text(message: Message) -> str:
    calls = [call["function"] for call in json.loads(message.tool_calls or "[]")]
    written = []
    for call in calls:
        if call["name"] == _AS_IT_IS:
            return str(decode_line(call["arguments"])["text"])
        argument = decode_line(call["arguments"])[PARAMETERS.get(call["name"], "input")]
        written.append(f'{call["name"]}("{argument}")')
    return ", ".join(written)


def refuses(record: Record) -> str | None:
    """Rounds of a question, perhaps a call with its result, and an answer; the marks not in their texts."""
    turns = asked(record)
    if any(m.role == "tool" or m.tool_calls is not None for m in turns):
        letters = "".join("c" if m.tool_calls is not None else m.role[0] for m in turns)
        if not _ROLES.fullmatch(letters) or record.tools is not None:
            return "tool-turns"
        if (record.chosen, record.rejected, record.label) != (None, None, None):
            return "preference-turns"
    elif reason := ROOM.refuses(record):
        return reason
    try:
        (fields,) = read(write(record))
    except (Bad, ValueError, KeyError, TypeError):
        return "not-separable"
    found = fields["messages"][int(bool(system_text(record))) :]
    return None if [*map(_gist, found)] == [*map(_gist, turns)] else "not-separable"


def _gist(message: Message) -> tuple[str, str, str | None, Any]:
    thinking = None if message.thinking is None else message.thinking.strip()
    calls = None if message.tool_calls is None else bare_calls(message.tool_calls)
    return message.role, message.content.strip(), thinking, calls


def losses(record: Record) -> list[str]:
    """The input's column, details of messages other than thinking, and white space around texts."""
    lost = [slug for slug in content_losses(record, flat=True) if slug != "thinking"]
    texts = [text for m in asked(record) for text in (m.content, m.thinking or "")]
    return lost + ([OUTER_SPACE] if any(text != text.strip() for text in texts) else [])


def find(row: Mapping[str, Any], name: str, index: str) -> Any:
    """The object of one round, or the one around them."""
    return None if name != "chat" else row["chat"].get(index) if index else row["chat"]


FORMAT = Format(
    name="moss",
    about="MOSS's conversations with plugins: rounds with thoughts, commands and results",
    recognise=recognise,
    read=read,
    write=write,
    refuses=refuses,
    losses=losses,
    schema=SCHEMA,
    find=find,
)
