"""Rules that several trainers share."""

import json
from collections.abc import Collection, Sequence

from pipeline.trainers.finding import Finding, note, wrong
from pipeline.trainers.sample import Sample, Turn, is_empty, ordinal, quoted


def alternation(body: Sequence[Turn], users: Collection[str], assistants: Collection[str]) -> Finding | None:
    """The note on turns that do not alternate: Llama 2's, Mistral's and Gemma's chat templates end with an error there.

    Turns of tools end the search, since templates differ too much in what they take for a tool's place.
    """
    for i, turn in enumerate(body):
        if turn.role not in (*users, *assistants, "system", "developer"):
            return None
        if turn.role not in (assistants if i % 2 else users):
            told = f"{ordinal(body, i)} is {quoted(turn.role)}: some chat templates fail where roles do not alternate"
            return note("role-order", told)
    return None


def empty_turns(turns: Sequence[Turn], users: Collection[str], assistants: Collection[str]) -> Finding | None:
    """The first empty answer, else the first empty question; a call of a tool is an answer."""
    for roles, reason, what, then in (
        (assistants, "empty-answer", "answer", "the model is trained to stop at once"),
        (users, "empty-question", "question", "a reply to nothing is trained on"),
    ):
        found = [i for i, turn in enumerate(turns) if turn.role in roles and says_nothing(turn)]
        if found:
            more = f" ({len(found)} such)" if len(found) > 1 else ""
            return wrong(reason, f"{ordinal(turns, found[0])} is an empty {what}{more}: {then}")
    return None


def says_nothing(turn: Turn) -> bool:
    """Whether a turn has no text and calls no tool."""
    return is_empty(turn.content) and not turn.raw.get("tool_calls") and not turn.raw.get("function_call")


def equal_pair(sample: Sample) -> Finding | None:
    """Both answers are the same: there is nothing to prefer."""
    if sample.layout.kind == "preference" and sample.get("chosen") == sample.get("rejected"):
        return note("equal-pair", "'chosen' and 'rejected' are the same: nothing is learnt")
    return None


def is_json(text: str) -> bool:
    """Whether a text is JSON."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
