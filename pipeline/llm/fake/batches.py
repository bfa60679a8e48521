"""Files and batches: uploads, and lists of questions answered at leisure."""

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.llm.fake.completion import Usage
from pipeline.llm.fake.question import PATHS, Objection, Path, Question, parse, validate
from pipeline.llm.fake.script import BatchTerms
from pipeline.llm.fake.wire import encoded

FINAL = ("completed", "failed", "expired", "cancelled")
_CHUNK = 200


@dataclass(frozen=True, slots=True)
class File:
    """An uploaded file, or one that a batch wrote."""

    id: str
    name: str
    purpose: str
    content: bytes
    created: int

    def shown(self) -> dict[str, Any]:
        """As OpenAI writes it."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": len(self.content),
            "created_at": self.created,
            "filename": self.name,
            "purpose": self.purpose,
            "status": "processed",
        }


@dataclass(frozen=True, slots=True)
class Line:
    """One question of a batch."""

    custom_id: str
    question: Question


@dataclass(slots=True)
class Batch:
    """A batch under way. Times that OpenAI shows are in `times`, by their names there."""

    id: str
    input_file: str
    endpoint: str
    metadata: Mapping[str, str] | None
    started: float
    times: dict[str, int]
    lines: list[Line] = field(default_factory=list)
    problems: list[dict[str, Any]] = field(default_factory=list)
    status: str = "validating"
    walked: int = 0
    output: list[bytes] = field(default_factory=list)
    errors: list[bytes] = field(default_factory=list)
    output_file: str | None = None
    error_file: str | None = None
    expired: int = 0
    cancelled: float | None = None
    usage: Counter[str] = field(default_factory=Counter)

    def shown(self) -> dict[str, Any]:
        """As OpenAI writes it."""
        used = self.usage
        return {
            "id": self.id,
            "object": "batch",
            "endpoint": self.endpoint,
            "errors": {"object": "list", "data": self.problems} if self.problems else None,
            "input_file_id": self.input_file,
            "completion_window": "24h",
            "status": self.status,
            "output_file_id": self.output_file,
            "error_file_id": self.error_file,
            **self.times,
            "request_counts": {"total": len(self.lines), "completed": len(self.output), "failed": len(self.errors)},
            "metadata": self.metadata,
            "usage": {
                "input_tokens": used["input"],
                "input_tokens_details": {"cached_tokens": used["cached"]},
                "output_tokens": used["output"],
                "output_tokens_details": {"reasoning_tokens": used["reasoning"]},
                "total_tokens": used["input"] + used["output"],
            },
        }


Answerer = Callable[[Question], tuple[int, Mapping[str, Any], Usage]]
"""Answers one line: status, body and what it used."""


class Batches:
    """The files and batches of one server. A batch moves on whenever somebody looks at it, by the clock."""

    def __init__(self, terms: BatchTerms, seed: int, answer: Answerer) -> None:
        self.files: dict[str, File] = {}
        self.batches: dict[str, Batch] = {}
        self._terms, self._seed, self._answer = terms, seed, answer
        self._tries: Counter[str] = Counter()
        self._lock = asyncio.Lock()

    @property
    def absent(self) -> bool:
        """Whether this server has none of all this."""
        return self._terms.absent

    def put(self, name: str, purpose: str, content: bytes) -> File:
        """Keep a file."""
        digest = hashlib.blake2b(content + str(len(self.files)).encode(), digest_size=12).hexdigest()
        file = File(f"file-{digest}", name, purpose, content, int(time.time()))
        self.files[file.id] = file
        return file

    def file(self, id: str) -> File:
        """The file of this id; an Objection when there is none."""
        if id not in self.files:
            raise Objection(404, f"No such File object: {id}", param="id")
        return self.files[id]

    def create(self, body: Mapping[str, Any]) -> Batch:
        """A new batch of `{input_file_id, endpoint, completion_window, metadata?}`; a bad file shows later."""
        endpoint = str(body.get("endpoint"))
        if endpoint not in PATHS:
            raise Objection(400, f"Invalid 'endpoint': one of {', '.join(PATHS)}", param="endpoint")
        if body.get("completion_window") != "24h":
            raise Objection(400, "Invalid 'completion_window': the only one is 24h", param="completion_window")
        file = self.file(str(body.get("input_file_id")))
        if file.purpose != "batch":
            raise Objection(
                400, f"the file {file.id} was uploaded for '{file.purpose}', not for 'batch'", param="input_file_id"
            )
        digest = hashlib.blake2b(f"{file.id} {len(self.batches)}".encode(), digest_size=12).hexdigest()
        now = int(time.time())
        times = {"created_at": now, "expires_at": now + 24 * 3600}
        batch = Batch(f"batch_{digest}", file.id, endpoint, body.get("metadata"), time.monotonic(), times)
        self.batches[batch.id] = batch
        self._read(batch, file.content, PATHS[endpoint])
        return batch

    def cancel(self, batch: Batch) -> None:
        """Stop after the lines done so far."""
        if batch.status in FINAL:
            raise Objection(400, f"Cannot cancel a batch with status '{batch.status}'.")
        if batch.cancelled is None:
            batch.cancelled = time.monotonic()
            batch.status = "cancelling"
            batch.times["cancelling_at"] = int(time.time())

    async def look(self, id: str) -> Batch:
        """The batch as it stands now; an Objection when there is none."""
        if id not in self.batches:
            raise Objection(404, f"No batch found with id '{id}'.")
        async with self._lock:
            await self._move(self.batches[id])
        return self.batches[id]

    async def look_at_all(self) -> list[Batch]:
        """All batches as they stand now, the newest first."""
        return [await self.look(id) for id in reversed(list(self.batches))]

    def _read(self, batch: Batch, content: bytes, path: Path) -> None:
        """Fill `lines`, or `problems` when the file breaks a rule."""
        terms, seen = self._terms, set()
        texts = content.splitlines()
        problems = batch.problems
        reject = terms.reject
        if reject is not None and len(self.batches) <= reject.get("batches", 1):
            problems.append(_problem(reject["code"], reject.get("message", "Rejected."), reject.get("line")))
        if not texts:
            problems.append(_problem("empty_file", "The input file is empty."))
        if len(texts) > terms.max_lines or len(content) > terms.max_bytes:
            limits = f"{terms.max_lines} lines and {terms.max_bytes} bytes"
            problems.append(_problem("file_too_large", f"A batch's input file holds at most {limits}."))
        for number, text in enumerate(texts, 1):
            if problems:
                break
            try:
                line = self._line(text, batch.endpoint, path)
            except Objection as objection:
                error = objection.body["error"]
                problems.append(_problem(error["code"] or "invalid_request", str(objection), number, error["param"]))
                break
            if line.custom_id in seen:
                problems.append(
                    _problem("duplicate_custom_id", f"The custom_id '{line.custom_id}' comes twice.", number)
                )
            if batch.lines and line.question.model != batch.lines[0].question.model:
                problems.append(_problem("mismatched_model", "All lines of a batch must name the same model.", number))
            seen.add(line.custom_id)
            batch.lines.append(line)
        if not problems and terms.max_enqueued_tokens is not None and self._enqueued(batch) > terms.max_enqueued_tokens:
            problems.append(
                _problem("token_limit_exceeded", f"Enqueued token limit reached: {terms.max_enqueued_tokens}.")
            )
        if problems:
            batch.lines.clear()

    def _enqueued(self, batch: Batch) -> int:
        """Prompt tokens under way for the model of this batch, itself included."""
        model = batch.lines[0].question.model
        under_way = [b for b in self.batches.values() if b.status not in FINAL and b.lines]
        return sum(line.question.prompt_tokens for b in under_way for line in b.lines if line.question.model == model)

    def _line(self, text: bytes, endpoint: str, path: Path) -> Line:
        try:
            line = parse(text)
        except Objection as objection:
            raise Objection(400, "This line is not parseable as valid JSON.", "invalid_json_line") from objection
        custom_id, body = line.get("custom_id"), line.get("body")
        if not isinstance(custom_id, str) or not isinstance(body, dict):
            raise Objection(
                400, "A line needs a custom_id (text) and a body (an object).", "missing_required_parameter"
            )
        if line.get("method") != "POST" or line.get("url") != endpoint:
            raise Objection(
                400, f"A line's method must be POST and its url {endpoint}.", "mismatched_endpoint", param="url"
            )
        if not isinstance(body.get("model"), str):
            raise Objection(400, "A line's body must name a model.", "missing_required_parameter", param="model")
        return Line(custom_id, Question(path, body, self._seed))

    async def _move(self, batch: Batch) -> None:
        """Answer the lines that are due, and close the batch when it is over."""
        if batch.status in FINAL:
            return
        if batch.problems:
            self._close(batch, "failed")
            return
        batch.times.setdefault("in_progress_at", int(time.time()))
        end = time.monotonic() if batch.cancelled is None else batch.cancelled
        share = min(1.0, (end - batch.started) / self._terms.seconds) if self._terms.seconds else 1.0
        due = int(share * len(batch.lines))
        while batch.walked < due:
            self._walk(batch, batch.lines[batch.walked])
            batch.walked += 1
            if batch.walked % _CHUNK == 0:
                await asyncio.sleep(0)
        if batch.cancelled is not None:
            if time.monotonic() - batch.cancelled >= self._terms.cancel_seconds:
                self._close(batch, "cancelled")
        elif share == 1.0:
            self._close(batch, "expired" if batch.expired else "completed")
        else:
            batch.status = "in_progress"

    def _walk(self, batch: Batch, line: Line) -> None:
        question = line.question
        self._tries[question.key] += 1
        if question.unit("batch expiry", self._tries[question.key]) < self._terms.expired_share:
            batch.expired += 1
            error = {
                "code": "batch_expired",
                "message": "This request could not be executed before the completion window expired.",
            }
            batch.errors.append(_result(line, None, error))
            return
        try:
            validate(question.path, question.body)
            status, body, usage = self._answer(question)
        except Objection as objection:
            status, body, usage = objection.status, objection.body, Usage()
        response = {"status_code": status, "request_id": f"req_{question.key[:20]}", "body": body}
        (batch.output if status == 200 else batch.errors).append(_result(line, response, None))
        batch.usage.update(input=usage.prompt, cached=usage.cached, output=usage.completion, reasoning=usage.reasoning)

    def _close(self, batch: Batch, status: str) -> None:
        """Write the output and error files, in an order of their own as OpenAI does."""
        now = int(time.time())
        batch.status = status
        batch.times[f"{status}_at"] = now
        for kind, lines in (("output", batch.output), ("error", batch.errors)):
            if lines:
                content = b"".join(sorted(lines, key=lambda line: hashlib.blake2b(line, digest_size=8).digest()))
                file = self.put(f"{batch.id}_{kind}.jsonl", "batch_output", content)
                setattr(batch, f"{kind}_file", file.id)


def _problem(code: str, message: str, line: int | None = None, param: str | None = None) -> dict[str, Any]:
    return {"code": code, "message": message, "line": line, "param": param}


def _result(line: Line, response: Mapping[str, Any] | None, error: Mapping[str, Any] | None) -> bytes:
    id = f"batch_req_{line.question.key[:24]}"
    return encoded({"id": id, "custom_id": line.custom_id, "response": response, "error": error}) + b"\n"
