"""A record's text inside a prompt: quoted so that it cannot be taken for a part of the prompt."""

import re

from pipeline.record import Message, Record

_CONTROL = re.compile(
    r"<([|｜])([^<>\n]{1,60})([|｜])>|<(<?/?)(SYS|s|bos|eos|start_of_turn|end_of_turn)(>?)>|\[(/?)INST\]"
)
"""Marks of chat templates, which many servers obey even inside a message: ChatML, Llama, Gemma, DeepSeek."""

HEADINGS: dict[str, dict[str, str]] = {
    "en": {"system": "System", "user": "User", "assistant": "Assistant", "tool": "Tool result"},
    "zh": {"system": "系统", "user": "用户", "assistant": "助手", "tool": "工具结果"},
}
_CALL = {"en": "Assistant calls a tool", "zh": "助手调用工具"}
_TOOLS = {"en": "Tools the assistant may call", "zh": "助手可以调用的工具"}


def defused(text: str) -> str:
    """The text with the marks of chat templates pulled apart, so that no server takes them for its own."""
    return _CONTROL.sub(lambda match: " ".join(match[0].strip()), text)


def quoted(text: str) -> str:
    """Every line of the text behind `> `, as in an e-mail: no line of it can stand where the prompt's own lines do."""
    return "\n".join(f"> {line}".rstrip() for line in defused(text).splitlines()) or ">"


def on_one_line(text: str) -> str:
    """The text with its line breaks and runs of space as single spaces, for prompts made of labelled lines."""
    return " ".join(defused(text).split())


def turns_before_answer(record: Record, tongue: str) -> str:
    """The conversation up to its final answer, each turn quoted under the name of who speaks."""
    headings = HEADINGS[tongue]
    shown = [f"{_TOOLS[tongue]}:\n{quoted(record.tools)}"] if record.tools else []
    first = True
    for message in record.messages[:-1]:
        text = message.content
        if message.role == "user" and first:
            first, text = False, record.question
        if text or not message.tool_calls:
            shown.append(f"{headings.get(message.role, message.role)}:\n{quoted(text)}")
        if message.tool_calls:
            shown.append(f"{_CALL[tongue]}:\n{quoted(message.tool_calls)}")
    return "\n\n".join(shown)


def answer_of(record: Record) -> str:
    """The text of the final assistant message, or the tool call it makes; empty when there is neither."""
    last: Message | None = record.messages[-1] if record.messages else None
    if last is None or last.role != "assistant":
        return ""
    return "\n".join(text for text in (last.content.strip(), last.tool_calls) if text)
