"""The commands that talk to somebody else: `publish`, `submit`, `ctl` and `fake-provider`."""

import argparse
import json
from dataclasses import replace
from typing import Any

from pipeline.errors import DataError, UsageError


def publish(arguments: argparse.Namespace) -> int:
    """`seedmill publish RUN [--repo USER/NAME] [--dry-run]`."""
    from pipeline.hub_release import Wishes, publish_folder
    from pipeline.release import would_stop
    from pipeline.run import read_run

    facts = read_run(arguments.outputs / arguments.run)
    settings: dict[str, Any] = facts.get("publish") or {}
    repo = arguments.repo or settings.get("repo")
    if repo is None:
        raise UsageError("no repository to publish to", "name it with --repo USER/NAME or 'publish: {repo: ...}'")
    exported = _exported(arguments, facts)
    failed = None if arguments.allow_failed else _failed(exported)
    if failed is not None and not arguments.dry_run:
        raise failed
    wishes = Wishes(
        private=not arguments.public and settings.get("private", True),
        dry_run=arguments.dry_run,
        pull_request=arguments.pr,
        tag=arguments.tag,
        allow_secrets=arguments.allow_secrets,
        allow_personal=arguments.allow_personal,
    )
    result = publish_folder(arguments.outputs / arguments.run / "export", repo, wishes)
    if failed is not None:
        result = replace(result, notes=(*result.notes, would_stop(failed)))
    print(json.dumps(result.as_json(), indent=1) if arguments.json else result.sentence())
    return 0


def _exported(arguments: argparse.Namespace, facts: dict[str, Any]) -> dict[str, Any]:
    """What is to be published: the export that is there, or one of the licences wished for."""
    from pipeline.errors import UsageError
    from pipeline.export.files import export_run
    from pipeline.store import read_manifest

    folder = arguments.outputs / arguments.run
    if arguments.only_licenses:
        settings = (facts.get("export") or {}) | {"only_licenses": arguments.only_licenses}
        return export_run(folder, settings, facts.get("expect"))
    manifest = read_manifest(folder / "export")
    if manifest is None:
        raise UsageError(
            f"run '{arguments.run}' has no export", f"make it first: seedmill run {facts['recipe']} --to export"
        )
    summary: dict[str, Any] = manifest["summary"]
    return summary


def _failed(exported: dict[str, Any]) -> DataError | None:
    """What stops a release of an export whose expectations are not all met."""
    from pipeline.expect import Verdict
    from pipeline.release import NOTHING_SENT

    failed = [Verdict(**verdict) for verdict in exported.get("expectations", ()) if not verdict["met"]]
    if not failed:
        return None
    told = "; ".join(verdict.sentence() for verdict in failed)
    hint = "mend the rows or the recipe's 'expect:', or publish with --allow-failed"
    return DataError(f"{NOTHING_SENT}expectations failed: {told}", hint)


def submit(arguments: argparse.Namespace) -> int:
    """`seedmill submit RECIPE --job-server URL`."""
    from pipeline.engine.job import submit_run

    return submit_run(arguments)


def control(arguments: argparse.Namespace) -> int:
    """`seedmill ctl RUN pause|resume|stop`, or `seedmill ctl RUN set [ROLE.]LIMIT=VALUE ...`."""
    from pipeline.run import read_run, under_way
    from pipeline.status import await_answer, command_run

    limits = _wished(arguments.limits)
    if (arguments.action == "set") != bool(limits):
        hint = "for example: seedmill ctl RUN set concurrency=4 judge.requests_per_minute=60"
        raise UsageError("'set' wants limits, and nothing else takes them", hint)
    folder = arguments.outputs / arguments.run
    read_run(folder)
    if not under_way(folder):
        raise UsageError(f"run '{arguments.run}' is not under way", f"see 'seedmill status {arguments.run}'")
    number = command_run(folder, arguments.action, limits)
    print(f"run '{arguments.run}': {await_answer(folder, number, lambda: under_way(folder))}")
    return 0


def _wished(settings: list[str]) -> dict[str, dict[str, Any]]:
    """`[ROLE.]LIMIT=VALUE` by role; `*` for all roles."""
    wished: dict[str, dict[str, Any]] = {}
    for setting in settings:
        target, equals, text = setting.partition("=")
        role, dot, name = target.rpartition(".")
        if not equals or not name or bool(dot) != bool(role):
            raise UsageError(f"{setting}: not of the form LIMIT=VALUE or ROLE.LIMIT=VALUE")
        try:
            value = json.loads("null" if text == "none" else text)
        except ValueError:
            raise UsageError(f"{setting}: the value is not a number", "or 'none', to lift a rate") from None
        wished.setdefault(role or "*", {})[name] = value
    return wished


def fake_provider(arguments: argparse.Namespace) -> int:
    """`seedmill fake-provider [--script FILE] [--port N]`."""
    from pipeline.llm.fake.__main__ import main

    script = [] if arguments.script is None else ["--script", str(arguments.script)]
    return main([*script, "--port", str(arguments.port)])
