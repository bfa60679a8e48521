"""Calls as people read them: one with its prompt and raw reply, or sums for each entry of a run."""

import json
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pipeline.llm.ledger_tools import Spent
from pipeline.llm.lists import shortened
from pipeline.llm.purse import dollars
from pipeline.report.rows import printable, table

SPENT_HEADER = ("calls", "prompt tokens", "completion tokens", "cost")

_USAGE_HEADER = ("wanted", "new", "reused", "prompt tokens", "completion tokens")


def money(cost: float | None) -> str:
    """US dollars, or the word "unknown"."""
    return "unknown" if cost is None else dollars(cost)


def spent_money(spent: Spent) -> str:
    """US dollars of the calls with a price, and how many have none."""
    if not spent.unpriced:
        return money(spent.known_cost)
    return "unknown" if spent.unpriced == spent.calls else f"{money(spent.known_cost)} + {spent.unpriced:,} unknown"


def spent_cells(spent: Spent) -> tuple[str, ...]:
    """A table's cells under SPENT_HEADER."""
    return f"{spent.calls:,}", f"{spent.prompt_tokens:,}", f"{spent.completion_tokens:,}", spent_money(spent)


def moment(seconds: float) -> str:
    """A time since 1970, to the second, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def facts_text(call: Mapping[str, Any]) -> str:
    """What is known of a call beside its key and texts, in two lines."""
    who = f"{call['outcome']}; run {call['run']}, entry {call['entry']}, role {call['role']}, model {call['model']}"
    used = (
        f"{call['prompt_tokens']:,} prompt tokens, {call['completion_tokens']:,} completion tokens, "
        f"cost {money(call['cost'])}, attempts {call['sends']}, {call['ms']:,} ms, finished {moment(call['time'])}"
    )
    return f"{one_line(who)}\n{used}"


def one_line(text: str) -> str:
    """Safe for a terminal, in a line of its own."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def lost_text(attempt: Mapping[str, Any]) -> str:
    """An attempt whose reply never came."""
    return printable(
        f"lost attempt, sent {moment(attempt['time'])} by run {attempt['run']}, maybe paid: {attempt['why']}"
    )


def call_text(call: Mapping[str, Any]) -> str:
    """A stored call whole: facts, every part of its request, what was said, and the raw reply."""
    request = json.loads(call["request"])
    parts = [facts_text(call), "asked:"]
    for message in request.pop("messages", ()):
        content = message.pop("content", None)
        parts.append(f"[{printable(str(message.pop('role', '')))}]")
        parts.append(_text(content))
        parts += [f"{name}: {_text(value)}" for name, value in message.items()]
    if "prompt" in request:
        parts.append(_text(request.pop("prompt")))
    for number, text in enumerate(request.pop("input", ()), 1):
        parts += [f"[text {number}]", _text(text)]
    parts.append("with:")
    parts += [f"{name}: {_text(value)}" for name, value in request.items()]
    return "\n".join([*parts, "said:", *said(call["reply"]), "raw reply:", printable(shortened(call["reply"]))])


def said(reply: str) -> Iterator[str]:
    """A reply in words: what of its JSON people read. The raw reply stands beside it, so nothing is lost here."""
    try:
        data = json.loads(reply)
        choices = data.get("choices") or []
        yield from _of_texts(data)
        if not choices and data.get("error"):
            yield f"(error) {_text(data['error'])}"
        for number, choice in enumerate(choices, 1):
            if len(choices) > 1:
                yield f"[choice {number}]"
            message = choice.get("message") or {"content": choice.get("text")}
            for name in ("reasoning_content", "reasoning"):
                if message.get(name):
                    yield f"(thinking) {_text(message[name])}"
            if message.get("content"):
                yield _text(message["content"])
            yield from (f"({name}) {_text(message[name])}" for name in ("refusal", "tool_calls") if message.get(name))
            if choice.get("finish_reason") not in (None, "stop"):
                yield f"(finish_reason {_text(choice['finish_reason'])})"
    except (ValueError, AttributeError, TypeError, KeyError):  # no JSON, or none of a shape that we know
        yield "(nothing that could be read)"


def _of_texts(data: Mapping[str, Any]) -> Iterator[str]:
    """What a reply says of each text of a list."""
    for number, item in enumerate(data.get("data") or (), 1):
        yield f"[text {number}] a vector, {_length(item['embedding'])}"
    for number, item in enumerate(data.get("results") or (), 1):
        found = [name for name, value in item["categories"].items() if value]
        scores = sorted((item.get("category_scores") or {}).items(), key=lambda pair: -pair[1])
        highest = ", ".join(f"{name} {score:.4f}" for name, score in scores[:3])
        yield _text(f"[text {number}] {', '.join(found) or 'nothing'} flagged; highest scores: {highest or 'none'}")


def _length(vector: Any) -> str:
    return f"{len(b64decode(vector)) // 4:,} numbers" if isinstance(vector, str) else f"{len(vector):,} numbers"


def _text(value: Any) -> str:
    return printable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def entries(
    facts: Mapping[str, Any],
    sums: Mapping[tuple[str, ...], Spent],
    in_flight: Mapping[str, int],
    lost: Mapping[str, int],
) -> Iterator[dict[str, Any]]:
    """A run's calls for each entry that asked: what it wanted, from its manifest, and what the ledger has of it.

    Args:
        facts: as `pipeline.run.read_run` gives them.
        sums: (entry, outcome) -> the calls that this run made.
        in_flight: entry -> calls in flight.
        lost: entry -> attempts lost.
    """
    manifests = {entry["name"]: entry.get("manifest") for entry in facts["entries"]}
    noted = {*(entry for entry, _ in sums), *in_flight, *lost}
    for name in [*manifests, *sorted(noted - manifests.keys())]:
        manifest = manifests.get(name)
        usage = (manifest or {}).get("usage") or None
        if name not in noted and not (usage and usage["calls"]):
            continue
        outcomes = {outcome: spent for (entry, outcome), spent in sums.items() if entry == name}
        yield {
            "entry": name,
            "finished": manifest is not None,
            "usage": usage,
            "ledger": sum(outcomes.values(), Spent()).as_dict()
            | {"outcomes": {outcome: spent.calls for outcome, spent in outcomes.items()}}
            | {"in_flight": in_flight.get(name, 0), "lost": lost.get(name, 0)},
        }


def entries_text(found: Sequence[Mapping[str, Any]]) -> str:
    """The sums as a table."""
    if not found:
        return "no model was asked"
    rows = []
    for item in found:
        usage, noted = item["usage"], item["ledger"]
        wanted = [usage[k] for k in ("calls", "new", "reused", "prompt_tokens", "completion_tokens")] if usage else ()
        cells = [f"{value:,}" for value in wanted] if usage else ["-"] * len(_USAGE_HEADER)
        spent = Spent(calls=noted["calls"], known_cost=noted["known_cost"], unpriced=noted["unpriced"])
        outcomes = [f"{count:,} {outcome}" for outcome, count in noted["outcomes"].items()]
        outcomes += [f"{noted[key]:,} {word}" for key, word in _OPEN.items() if noted[key]]
        rows.append((item["entry"], *cells, spent_money(spent), ", ".join(outcomes) or "0"))
    lines = [table(("entry", *_USAGE_HEADER, "cost", "made by this run"), rows, left=1)]
    lines.append("reused calls stand in the ledger under the run that made them; '-' is an entry that is not finished")
    return "\n".join(lines)


_OPEN = {"in_flight": "in flight", "lost": "attempts lost"}
