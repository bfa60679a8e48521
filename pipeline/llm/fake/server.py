"""The fake provider: an HTTP server with OpenAI's endpoints that does what a script says."""

import asyncio
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, cast

from aiohttp import web

from pipeline.llm.fake import books
from pipeline.llm.fake.batches import Batches
from pipeline.llm.fake.bill import Bill, Call
from pipeline.llm.fake.completion import Usage, complete
from pipeline.llm.fake.embedding import embed, moderate
from pipeline.llm.fake.faults import Fault, choose
from pipeline.llm.fake.limits import RateGate, Service
from pipeline.llm.fake.question import PATHS, Objection, Path, Question, parse, validate
from pipeline.llm.fake.rule import Rule
from pipeline.llm.fake.script import Script
from pipeline.llm.fake.wire import Answer, encoded, refused, send, status_fault

HOST = "127.0.0.1"

_AZURE = re.compile(r"/openai/deployments/([^/]+)/(chat/completions|completions|embeddings)")
_SERVER_FAULTS = ("hang", "reset", "truncated_json", "wrong_type")
"""Faults of a connection; in a batch, where there is none, they become lines that failed with a 500."""


class Server:
    """One script being played. Everything but the books of `bill` and `batches` is a function of the request."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.bill = Bill(script.price, script.keep_bodies)
        self.batches = Batches(script.batch, script.seed, self._answer_line)
        self._gate = RateGate(script.rate_limit)
        self._service = Service(script.capacity)
        self._books = books.Books(script.models, self.batches)
        self._looks: Counter[str] = Counter()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one HTTP request."""
        path, model = PATHS.get(request.path), None
        if azure := _AZURE.fullmatch(request.path):
            path, model = PATHS[f"/v1/{azure[2]}"], azure[1]
        if path is not None and request.method == "POST":
            return await self._ask(request, path, model)
        return await self._keep_books(request)

    async def _ask(self, request: web.BaseRequest, path: Path, deployment: str | None) -> web.StreamResponse:
        """Where models are asked."""
        call: Call | None = None
        headers: dict[str, str] = {}
        self.bill.enter()
        try:
            self._authorise(request)
            question = self._question(path, await request.read(), deployment)
            rule = self.script.rule(question)
            call = self.bill.arrive(question, rule.name)
            headers["x-request-id"] = f"req_{question.key[:20]}_{call.attempts}"
            self._admit(question)
            headers |= self._gate.headers()
            fault = choose(self.script.faults, question, call.attempts)
            await self._befall(call, fault)
            body, usage = self._reply(question, rule, fault)
            await self._service.serve(self._seconds(question, call, usage))
            return await self._deliver(request, Answer(200, encoded(body), headers), call, usage, fault)
        except Objection as objection:
            self.bill.answer(call, objection.status)
            return await send(request, refused(objection, headers))
        except (asyncio.CancelledError, ConnectionError):
            if call is not None:
                self.bill.count(call, "aborted")
            raise
        finally:
            self.bill.leave()

    def _authorise(self, request: web.BaseRequest) -> None:
        if not self.script.valid_keys:
            return
        key = request.headers.get("api-key") or request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
        if not key:
            raise Objection(401, "You didn't provide an API key.")
        if key not in self.script.valid_keys:
            raise Objection(401, "Incorrect API key provided.", "invalid_api_key")

    def _question(self, path: Path, source: bytes, deployment: str | None) -> Question:
        body = parse(source)
        if deployment is not None:
            body.setdefault("model", deployment)
        validate(path, body)
        self._know(str(body["model"]))
        return Question(path, body, self.script.seed)

    def _know(self, model: str) -> None:
        if self.script.models and model not in self.script.models:
            message = f"The model `{model}` does not exist or you do not have access to it."
            raise Objection(404, message, "model_not_found", param="model")

    def _admit(self, question: Question) -> None:
        """Raise the Objection of a limit, or take the call's share of it."""
        refusal = self._gate.admit(question.prompt_tokens + question.n * (question.limit or 0))
        if refusal is not None:
            name = {"requests": "requests", "tokens": "tokens"}[refusal.what]
            wait = f"Please try again in {refusal.seconds:.3f}s."
            message = f"Rate limit reached for {question.model} on {name} per min: limit {refusal.limit}. {wait}"
            headers = self._gate.refusal_headers(refusal)
            raise Objection(429, message, "rate_limit_exceeded", type=name, headers=headers)

    async def _befall(self, call: Call | None, fault: Fault | None) -> None:
        """What a fault does before there is a reply."""
        if fault is None:
            return
        self.bill.suffer(call, fault.kind)
        if fault.kind == "status":
            raise status_fault(fault)
        if fault.kind == "hang":
            await asyncio.sleep(fault.number("seconds", 0))

    def _reply(self, question: Question, rule: Rule, fault: Fault | None) -> tuple[dict[str, Any], Usage]:
        """The body of a 200 and its usage, or an Objection that this very input meets."""
        script, body = self.script, question.body
        if unwanted := [name for name in script.refuses if body.get(name) is not None]:
            message = f"Unsupported parameter: '{unwanted[0]}' is not supported with this model."
            raise Objection(400, message, "unsupported_parameter", param=unwanted[0])
        if question.path == "embeddings":
            return embed(question)
        if question.path == "moderations":
            return moderate(script, question)
        asked = question.prompt_tokens + (question.limit or 0)
        if script.context is not None and asked > script.context:
            message = f"This model's maximum context length is {script.context} tokens; you requested {asked} tokens."
            raise Objection(400, message, "context_length_exceeded", param="messages")
        return complete(script, question, rule, fault)

    def _seconds(self, question: Question, call: Call, usage: Usage) -> float:
        speed = self.script.tokens_per_second
        return self.script.latency.of(question, call.attempts) + (usage.completion / speed if speed else 0.0)

    async def _deliver(
        self, request: web.BaseRequest, answer: Answer, call: Call, usage: Usage, fault: Fault | None
    ) -> web.StreamResponse:
        """Put the reply on the bill, then send it; what is lost on its way stays on the bill."""
        kind = None if fault is None else fault.kind
        if fault is None or fault.charge:
            self.bill.charge(call, usage)
        if kind != "wrong_type":
            self.bill.count(call, "begun")
        response = await send(request, answer, fault)
        self.bill.answer(call, response.status)
        if kind not in ("reset", "truncated_json", "wrong_type", "empty_choices"):
            self.bill.count(call, "finished")
        return response

    def _answer_line(self, question: Question) -> tuple[int, Mapping[str, Any], Usage]:
        """One line of a batch: as if asked alone, at the batch price, without limits and latency."""
        rule = self.script.rule(question)
        call = self.bill.arrive(question, rule.name)
        fault = choose(self.script.faults, question, call.attempts)
        try:
            self._know(question.model)
            if fault is not None:
                self.bill.suffer(call, fault.kind)
                if fault.kind == "status":
                    raise status_fault(fault)
                if fault.kind in _SERVER_FAULTS:
                    raise Objection(500, "The server had an error while processing your request.", type="server_error")
            body, usage = self._reply(question, rule, fault)
        except Objection as objection:
            self.bill.answer(call, objection.status)
            return objection.status, objection.body, Usage()
        if fault is None or fault.charge:
            self.bill.charge(call, usage, batch=True)
        for what in ("begun", "finished"):
            self.bill.count(call, what)
        self.bill.answer(call, 200)
        return 200, body, usage

    async def _keep_books(self, request: web.BaseRequest) -> web.StreamResponse:
        """Everything but the models' own endpoints."""
        try:
            if request.path.startswith("/fake/"):
                return await send(request, await self._own(request))
            self._authorise(request)
            fault = self._book_fault(request)
            await self._befall(None, fault)
            return await send(request, await self._books.answer(request), fault)
        except Objection as objection:
            return await send(request, refused(objection, {}))

    def _book_fault(self, request: web.BaseRequest) -> Fault | None:
        """The fault whose `when.path` names this endpoint, drawn for method, URL and attempt."""
        found = books.PATH.fullmatch(request.path)
        if found is None:
            return None
        path = cast(Path, found[1])
        body = {"method": request.method, "url": request.path, "input": f"{request.method} {request.path}"}
        question = Question(path, body, self.script.seed)
        self._looks[question.key] += 1
        return choose(self.script.faults, question, self._looks[question.key])

    async def _own(self, request: web.BaseRequest) -> Answer:
        """The fake's own endpoints, for tests."""
        await self.batches.look_at_all()
        if (request.method, request.path) == ("GET", "/fake/bill"):
            return Answer(200, encoded(self.bill.shown()))
        if (request.method, request.path) == ("GET", "/fake/calls"):
            return Answer(200, encoded({key: call.shown() for key, call in self.bill.calls.items()}))
        if (request.method, request.path) == ("POST", "/fake/reset"):
            self.bill.reset()
            self._looks.clear()
            return Answer(200, encoded({"reset": True}))
        raise Objection(
            404, f"Unknown: {request.method} {request.path}; there are GET /fake/bill, /fake/calls, POST /fake/reset"
        )


async def start(script: Script, port: int = 0) -> tuple[web.ServerRunner, Server, int]:
    """Listen on this machine only; port 0 takes a free one. Returns what to clean up, the server and its port."""
    server = Server(script)

    def request_of(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
        # No limit on a body's size: a batch's file may have 200 MB.
        loop = asyncio.get_running_loop()
        return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=2**30)

    http = web.Server(server.handle, request_factory=request_of, handler_cancellation=True, access_log=None)
    runner = web.ServerRunner(http, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, HOST, port, backlog=4096).start()
    return runner, server, int(runner.addresses[0][1])
