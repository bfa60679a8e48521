"""The lines of a batch: calls as a file carries them, and what comes back for each."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.llm.batch.terms import Terms
from pipeline.llm.body import Call, wire_body
from pipeline.llm.faults import Again, Answer, Verdict, judge
from pipeline.llm.lists import compact
from pipeline.llm.models import ModelSpec
from pipeline.llm.reading import Reading
from pipeline.llm.request import Kind

_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_ascii = json.JSONEncoder(separators=(",", ":")).encode

_BREAKS = {"\u0085": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"}
"""Line breaks to Unicode and to some readers of JSON lines, though not to JSON."""


@dataclass(frozen=True, slots=True)
class Line:
    """One call of a batch.

    Attributes:
        data: the file's line, with its end.
        attempt: how often the call has been sent, this time included.
        reserved: US dollars that this attempt costs at worst, or None when nobody knows.
    """

    call: Call
    data: bytes = field(repr=False)
    attempt: int = 1
    reserved: float | None = None


def kind_of(call: Call) -> Kind:
    """Which endpoint a call is for; a batch has lines for one only."""
    kind: Kind = json.loads(call.document)["kind"]
    return kind


def line_of(spec: ModelSpec, terms: Terms, call: Call, attempt: int = 1) -> Line:
    """The call as a line: the body is the one a single call would carry, the custom_id its ledger key."""
    body = wire_body(spec, call)[1].decode()
    for mark, escaped in _BREAKS.items():
        body = body.replace(mark, escaped)
    text = f'{{"custom_id":"{call.key}","method":"POST","url":"{terms.url(kind_of(call))}","body":{body}}}\n'
    return Line(call, text.encode(), attempt)


@dataclass(frozen=True, slots=True)
class Result:
    """What a batch brought for one line; `body` is the reply as it came, empty when there was none."""

    key: str
    verdict: Verdict
    body: str = ""


def results(spec: ModelSpec, content: str, asked: Mapping[str, Line]) -> Iterator[Result]:
    """The results in an output or error file for lines asked, by key; one that cannot be read is passed over."""
    for text in content.split("\n"):
        if text.strip():
            try:
                item = json.loads(text)
            except ValueError:
                continue
            if isinstance(item, dict) and (line := asked.get(str(item.get("custom_id")))) is not None:
                yield _result(spec, item, line.call)


def _result(spec: ModelSpec, item: Mapping[str, Any], call: Call) -> Result:
    """A line is judged as a single call's answer would be; one without an answer is worth another attempt."""
    key, response = call.key, item.get("response")
    if not isinstance(response, dict) or not isinstance(response.get("status_code"), int):
        error = item.get("error")
        why = error.get("code") or error.get("message") if isinstance(error, dict) else None
        return Result(key, Again(why=str(why or "a line without a reply")[:200]))
    body = _text(response.get("body"))
    answer = Answer(status=response["status_code"], headers={}, body=body)
    verdict = judge(spec, answer, call)
    return Result(key, verdict, compact(body) if isinstance(verdict, Reading) and verdict.vectors else body)


def _text(body: Any) -> str:
    """A body as a single call would have brought it; escapes stay where UTF-8 cannot carry the text."""
    if isinstance(body, str):
        return body
    text = _compact(body)
    try:
        text.encode()
    except UnicodeEncodeError:
        return _ascii(body)
    return text
