"""The commands that talk to somebody else: `publish`, `submit`, `ctl` and `fake-provider`."""

import argparse
import json
from dataclasses import replace
from typing import Any

from pipeline.errors import DataError


def publish(arguments: argparse.Namespace) -> int:
    """`seedmill publish RUN [--repo USER/NAME] [--dry-run]`."""
    from pipeline.errors import UsageError
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
    """`seedmill ctl RUN pause|resume|stop`."""
    from pipeline.run import read_run
    from pipeline.status import command_run

    folder = arguments.outputs / arguments.run
    read_run(folder)
    command_run(folder, arguments.action)
    print(f"asked run '{arguments.run}' to {arguments.action}; it looks about once a second")
    return 0


def fake_provider(arguments: argparse.Namespace) -> int:
    """`seedmill fake-provider [--script FILE] [--port N]`."""
    from pipeline.llm.fake.__main__ import main

    script = [] if arguments.script is None else ["--script", str(arguments.script)]
    return main([*script, "--port", str(arguments.port)])
