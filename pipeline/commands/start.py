"""The commands one begins with: `init`, `preview` and `convert`."""

import argparse
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

from pipeline.errors import DataError, UsageError


def init(arguments: argparse.Namespace) -> int:
    """`seedmill init DIR --seeds FILE`."""
    from pipeline.starter import starter_recipe

    seeds = Path(arguments.seeds)
    if not seeds.is_file():
        raise UsageError(f"{seeds}: no such file", "name your seed tasks with --seeds FILE")
    path = arguments.folder / "recipe.yaml"
    if path.exists():
        raise UsageError(f"{path} is there already", "name another directory, or edit that recipe")
    text = starter_recipe(seeds, arguments.folder, arguments.language, arguments.translate_to)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    entry = "self-instruct"
    print(f"wrote {path}\nlook at its prompts:  seedmill preview {path} {entry}")
    print(f"run it:               seedmill run {path}")
    return 0


def convert(arguments: argparse.Namespace) -> int:
    """`seedmill convert IN --to FORMAT -o OUT`."""
    from pipeline.convert import convert as convert_file

    result = convert_file(
        arguments.input,
        arguments.to,
        arguments.output,
        arguments.format,
        dry_run=arguments.dry_run,
        strict=arguments.strict,
        only_licenses=arguments.only_licenses or (),
    )
    print(json.dumps(result.counts(), ensure_ascii=False, indent=1) if arguments.json else result.sentence())
    return 0


class _Enough(Exception):
    """The wanted number of requests has been seen."""


class _Recorder:
    """A model that notes what it is asked, and answers (if it may) until it has seen enough."""

    def __init__(self, llm: Any, count: int, live: bool) -> None:
        self._llm, self._count, self._live = llm, count, live
        self.seen: list[tuple[Any, Any]] = []

    def ask(self, requests: Iterable[Any], window: int) -> Iterator[Any]:
        if not self._live:
            for request in requests:
                self.seen.append((request, None))
                self._check()
            return
        asked: list[Any] = []

        def noted() -> Iterator[Any]:
            for request in requests:
                asked.append(request)
                yield request

        for reply in self._llm.ask(noted(), 1):
            self.seen.append((asked[len(self.seen)], reply))
            yield reply
            self._check()

    def profile(self, role: str) -> Any:
        return self._llm.profile(role)

    def _check(self) -> None:
        if len(self.seen) >= self._count:
            raise _Enough


def preview(arguments: argparse.Namespace) -> int:
    """`seedmill preview RECIPE ENTRY -n 3 [--live]`."""
    from pipeline.engine.in_process import InProcessEngine
    from pipeline.models import Models
    from pipeline.recipe import load_recipe
    from pipeline.run import Plan, previous_stream
    from pipeline.stage import Tools

    recipe = load_recipe(arguments.recipe, arguments.set)
    index = recipe.position(arguments.entry)
    entry = recipe.entries[index]
    if not entry.model_roles:
        raise UsageError(f"entry '{entry.name}' asks no model, so it has no prompts")
    engine = InProcessEngine()
    folder = arguments.outputs / (arguments.run or recipe.name)
    before = Models(recipe, os.environ, outputs=arguments.outputs, run=folder.name, idle=True)
    stream = previous_stream(Plan(recipe, folder, index, engine, before), index)
    with Models(recipe, os.environ, outputs=arguments.outputs, run=folder.name, idle=not arguments.live) as models:
        models.use(engine)
        recorder = _Recorder(models.open(entry), arguments.n, arguments.live)
        tools = Tools(entry=entry.name, seed=recipe.seed, llm=recorder, map=engine.map)
        outcomes: Any = entry.stage.run(cast(Any, stream), tools)
        try:
            for _ in outcomes:
                pass
        except _Enough:
            pass
    if not recorder.seen:
        raise DataError(f"entry '{entry.name}' has nothing to ask", "does the entry before it keep any rows?")
    servers = {role: f"{spec.model} on {spec.kind.name or 'an unknown server'}" for role, spec in models.specs.items()}
    _print_requests(recorder.seen, servers, arguments.json)
    return 0


def _print_requests(seen: list[tuple[Any, Any]], servers: dict[str, str], as_json: bool) -> None:
    if as_json:
        items = [
            {
                "role": request.role,
                "server": servers[request.role],
                "messages": [{"role": m.role, "content": m.content} for m in request.messages],
                "prompt": request.prompt,
                "embed": list(request.embed),
                "moderate": list(request.moderate),
                "params": dict(request.params),
                "response_format": request.response_format,
                "samples": request.samples,
                "reply": None if reply is None else _told(reply),
            }
            for request, reply in seen
        ]
        print(json.dumps(items, ensure_ascii=False, indent=1))
        return
    for number, (request, reply) in enumerate(seen, 1):
        params = dict(request.params) | ({"samples": request.samples} if request.samples > 1 else {})
        told = ", ".join(f"{key} {value}" for key, value in params.items())
        print(f"=== request {number} to '{request.role}', {servers[request.role]} ({told})")
        for message in request.messages:
            print(f"[{message.role}]\n{message.content}")
        if request.prompt is not None:
            print(request.prompt)
        for place, text in enumerate(request.texts, 1):
            print(f"[text {place} to {request.kind}]\n{text}")
        if reply is not None:
            print(f"--- reply ({reply.outcome})\n{_told(reply)}")


def _told(reply: Any) -> str:
    """A reply in words."""
    vectors = [f"[text {at}] a vector, {len(vector) // 4:,} numbers" for at, vector in enumerate(reply.vectors, 1)]
    found = [
        f"[text {at}] {', '.join(name for name, value in m.categories.items() if value) or 'nothing'} flagged"
        for at, m in enumerate(reply.moderations, 1)
    ]
    return "\n".join([*vectors, *found]) or str(reply.text)
