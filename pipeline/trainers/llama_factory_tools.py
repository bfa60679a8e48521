"""LLaMA-Factory: what its formatters do with tools and their calls; see `llama_factory.py` for the sources."""

import json
import re
from typing import Any

from pipeline.trainers.finding import Finding, stops, wrong
from pipeline.trainers.sample import Sample, ordinal
from pipeline.trainers.survey import Layout

_TOOL_CALL = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)
_THOUGHT = re.compile(r"<think>\n(.*?)\n</think>\n\n", re.DOTALL)


def malformed_tool_call(sample: Sample) -> Finding | None:
    """A function call's text is JSON of {"name", "arguments"}, one or a list: else RuntimeError or KeyError."""
    tag = sample.layout.tags.function
    for i, turn in enumerate([*sample.body, *sample.choices]):
        if turn.role == tag and not _is_call(turn.content):
            at = ordinal(sample.body, i)
            return stops(
                "malformed-tool-call", f"{at} is no JSON of {{name, arguments}}: the formatter ends with an error"
            )
    return None


def _is_call(content: str) -> bool:
    inside = _TOOL_CALL.search(content)
    try:
        calls = json.loads(inside[1] if inside else _THOUGHT.sub("", content, count=1))
    except (ValueError, RecursionError):
        return False
    calls = calls if isinstance(calls, list) else [calls]
    return all(isinstance(call, dict) and "name" in call and "arguments" in call for call in calls)


def malformed_tools(sample: Sample) -> Finding | None:
    """`tools` is JSON as text: else RuntimeError or TypeError."""
    tools = sample.get("tools") if describes_tools(sample.layout) else None
    if not tools:
        return None
    if not isinstance(tools, str):
        return stops("malformed-tools", "'tools' is no text: the formatter ends with TypeError; write it as JSON text")
    try:
        listed = json.loads(tools)
    except (ValueError, RecursionError):
        return stops("malformed-tools", "'tools' is no JSON: the formatter ends with RuntimeError")
    if isinstance(listed, list) and all(isinstance(tool, dict) and ("name" in tool or _named(tool)) for tool in listed):
        return None
    return stops("malformed-tools", "'tools' is no list of tools with names: the formatter ends with an error")


def _named(tool: dict[str, Any]) -> bool:
    return isinstance(tool.get("function"), dict) and "name" in tool["function"]


def describes_tools(layout: Layout) -> bool:
    """Whether the description names the column `tools`: not beside OpenAI's calls, which are not read."""
    return "tools" in layout.columns and layout.base != "messages"


def tool_calls_lost(sample: Sample) -> Finding | None:
    """OpenAI's `tool_calls` and `tools` are not read with tags; the turn's text alone is."""
    if sample.layout.base != "messages":
        return None
    calls = any(turn.raw.get("tool_calls") for turn in sample.body)
    if not calls and not sample.get("tools"):
        return None
    what = "tool calls" if calls else "tools"
    return wrong(
        "tool-calls-lost", f"its {what} are not read; convert the file to sharegpt, which has a turn for calls"
    )
