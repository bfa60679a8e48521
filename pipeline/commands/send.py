"""The commands that talk to somebody else: `publish`, `submit`, `ctl` and `fake-provider`."""

import argparse
import json
from typing import Any


def publish(arguments: argparse.Namespace) -> int:
    """`seedmill publish RUN [--repo USER/NAME] [--dry-run]`."""
    from pipeline.errors import UsageError
    from pipeline.hub import publish_folder
    from pipeline.run import read_run
    from pipeline.store import read_manifest

    folder = arguments.outputs / arguments.run
    facts = read_run(folder)
    if read_manifest(folder / "export") is None:
        raise UsageError(
            f"run '{arguments.run}' has no export", f"make it first: seedmill run {facts['recipe']} --to export"
        )
    settings: dict[str, Any] = facts.get("publish") or {}
    repo = arguments.repo or settings.get("repo")
    if repo is None:
        raise UsageError("no repository to publish to", "name it with --repo USER/NAME or 'publish: {repo: ...}'")
    private = not arguments.public and settings.get("private", True)
    result = publish_folder(folder / "export", repo, private=private, dry_run=arguments.dry_run)
    print(json.dumps(result.as_json(), indent=1) if arguments.json else result.sentence())
    return 0


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
