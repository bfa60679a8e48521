"""A run as a batch job of a Ray cluster, through Ray Jobs."""

import argparse
import asyncio
import logging
import os
import shlex
import time
from pathlib import Path

from ray.job_submission import JobStatus, JobSubmissionClient

from pipeline.errors import SeedmillError

ROOT = Path(__file__).resolve().parent.parent.parent

LEFT_BEHIND = [
    ".env",
    ".venv",
    ".git",
    "outputs",
    "tests",
    "**/__pycache__",
    ".hypothesis",
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
]
"""What does not travel with the code; `.env` above all, for it holds keys."""

FORWARDED = ("LLM_BASE_URL", "LLM_MODEL", "LOCAL_MODEL", "HF_ENDPOINT")
"""Settings sent along. Keys are not: Ray would store them with the job; set them in the cluster's own environment."""


_PATIENCE = 60.0
"""Seconds to wait for a node that can take the job."""


def submit_run(arguments: argparse.Namespace) -> int:
    """Send `seedmill run` to the cluster; follow its log unless told not to.

    The outputs folder is sent as an absolute path and must be one that the cluster shares with this machine; so must
    data files outside the checkout.

    Returns:
        The job's exit code: 0 done, 1 failed or stopped.

    Raises:
        SeedmillError: the job server cannot be reached or refuses the job.
    """
    for name in ("ray", "ray.dashboard", "ray._private"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        client = JobSubmissionClient(arguments.job_server)
        job = _submitted(client, arguments)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise SeedmillError(
            f"the job server {arguments.job_server} does not take the job: {str(error).splitlines()[0]}",
            "is the cluster's dashboard there? JOB_SERVER is its address, such as http://head:8265",
        ) from error
    print(f"submitted job {job} to {arguments.job_server}", flush=True)
    if arguments.no_wait:
        return 0
    asyncio.run(_follow(client, job))
    state = client.get_job_status(job)
    print(f"job {job}: {state.value.lower()}")
    return 0 if state == JobStatus.SUCCEEDED else 1


def _submitted(client: JobSubmissionClient, arguments: argparse.Namespace) -> str:
    """The job's id. A cluster that has just come up answers before any of its nodes can take a job: then try again."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            job: str = client.submit_job(
                entrypoint=shlex.join(_command(arguments)),
                runtime_env={
                    "working_dir": str(ROOT),
                    "excludes": LEFT_BEHIND,
                    "env_vars": {name: os.environ[name] for name in FORWARDED if os.environ.get(name)},
                },
            )
            return job
        except RuntimeError as error:
            if "No available agent" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(1.0)


def _command(arguments: argparse.Namespace) -> list[str]:
    recipe = arguments.recipe.resolve()
    inside = recipe.relative_to(ROOT) if recipe.is_relative_to(ROOT) else recipe
    command = ["python", "-m", "pipeline", "run", str(inside), "--engine", "ray"]
    command += ["--outputs", str(arguments.outputs.resolve())]
    for flag, value in (("--run", arguments.run), ("--to", arguments.to), ("--block-size", arguments.block_size)):
        if value is not None:
            command += [flag, str(value)]
    for setting in arguments.set:
        command += ["--set", setting]
    return [*command, *(["--rehearse"] if arguments.rehearse else [])]


async def _follow(client: JobSubmissionClient, job: str) -> None:
    async for lines in client.tail_job_logs(job):
        print(lines, end="", flush=True)
