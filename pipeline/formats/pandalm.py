"""PandaLM's comparisons: two responses, which is better and why, and perhaps a reference.

Training rows are `{"inputs": {"instruction", "input", "response1", "response2"}, "outputs": {"evaluation_result": "1"
| "2" | "Tie", "evaluation_reason", "reference_response"}}`; test rows `{"instruction", "input", "response1",
"response2", "annotator1", "annotator2", "annotator3"}` with 1, 2 or 0 (see README.md and data/testset-v1.json of
WeOpenML/PandaLM; the README names the last three label_0 to label_2). Most annotators decide. A tie has no better
response: both stay where they are, in `extra`.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from pipeline.formats.extras import leftover
from pipeline.formats.fit import Room
from pipeline.formats.shape import Bad, Fields, Format, text, text_or_none, wrong_type
from pipeline.record import Message, Record

ROOM = Room(several=False, input=True, choices="must")
_INPUTS = frozenset(("instruction", "input", "response1", "response2"))
_OUTPUTS = frozenset(("evaluation_result", "reference_response"))
_VOTES = ("annotator1", "annotator2", "annotator3", "label_0", "label_1", "label_2")

_TEXT = {"type": "string"}
SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "PandaLM training row",
    "type": "object",
    "properties": {
        "inputs": {
            "type": "object",
            "properties": dict.fromkeys(sorted(_INPUTS), _TEXT),
            "required": sorted(_INPUTS),
        },
        "outputs": {
            "type": "object",
            "properties": dict.fromkeys(sorted(_OUTPUTS), _TEXT),
            "required": sorted(_OUTPUTS),
        },
    },
    "required": ["inputs", "outputs"],
}


def recognise(row: Mapping[str, Any]) -> bool:
    """Inputs and outputs, or two responses."""
    return row.keys() >= {"inputs", "outputs"} or row.keys() >= {"instruction", "response1", "response2"}


def marks(row: Mapping[str, Any]) -> bool:
    """Inputs, if there are any, that hold two responses."""
    inputs = row.get("inputs")
    return "inputs" not in row or (isinstance(inputs, dict) and inputs.keys() >= {"response1", "response2"})


def read(row: dict[str, Any]) -> list[Fields]:
    """The row's one record; the reference response is its answer."""
    if "inputs" not in row and "response1" in row:
        votes = [str(row[name]) for name in _VOTES if name in row]
        (best, count), *_ = Counter(votes).most_common(1) or [("Tie", 0)]
        verdict = best if count * 2 > len(votes) else "Tie"
        reference = text_or_none(row, "reference_response")
        fields, rest = _fields(row, "", verdict, reference)
        known = _INPUTS if rest == {} else _INPUTS - {"response1", "response2"}
        return [{**fields, **leftover(row, known | {"reference_response"})}]
    inputs, outputs = (_object(row, name) for name in ("inputs", "outputs"))
    verdict = text(outputs, "evaluation_result", "outputs.")
    fields, rest = _fields(inputs, "inputs.", verdict, text_or_none(outputs, "reference_response", "outputs."))
    rest |= {key: value for key, value in inputs.items() if key not in _INPUTS}
    others = {key: value for key, value in outputs.items() if key not in _OUTPUTS}
    places = {name: found for name, found in (("inputs.0", rest), ("outputs.0", others)) if found}
    return [{**fields, **leftover(row, frozenset(("inputs", "outputs")), places)}]


def _object(row: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = row.get(name)
    if not isinstance(value, dict):
        raise wrong_type(name, "an object", value)
    return value


def _fields(
    inputs: Mapping[str, Any], place: str, verdict: str, reference: str | None
) -> tuple[Fields, dict[str, Any]]:
    """What is said of the record, and the responses when neither is better."""
    user = Message(role="user", content=text(inputs, "instruction", place))
    answer = (Message(role="assistant", content=reference),) if reference else ()
    responses = {name: text(inputs, name, place) for name in ("response1", "response2")}
    fields: Fields = {"messages": (user, *answer), "input": text_or_none(inputs, "input", place) or None}
    if verdict in ("Tie", "0"):
        return fields, dict(responses)
    if verdict not in ("1", "2"):
        raise Bad("unknown-verdict", f"the result is '{verdict[:40]}', not 1, 2 or Tie", "outputs.evaluation_result")
    first, second = ((Message(role="assistant", content=value),) for value in responses.values())
    better, worse = (first, second) if verdict == "1" else (second, first)
    return {**fields, "chosen": better, "rejected": worse}, {}


def write(record: Record) -> dict[str, Any]:
    """The record as a training row, the better response first; see `refuses` for those that have none."""
    assert record.chosen is not None
    assert record.rejected is not None
    inputs = {
        "instruction": record.instruction,
        "input": record.input or "",
        "response1": record.chosen[0].content,
        "response2": record.rejected[0].content,
    }
    return {"inputs": inputs, "outputs": {"evaluation_result": "1", "reference_response": record.output}}


FORMAT = Format(
    name="pandalm",
    about="PandaLM's comparisons: two responses, a verdict and a reference",
    recognise=recognise,
    marks=marks,
    read=read,
    write=write,
    refuses=ROOM.refuses,
    losses=ROOM.losses,
    schema=SCHEMA,
)
