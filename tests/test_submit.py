"""`make submit` sends a run to a real Ray head with one worker, and the same bytes come back."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runs import ROOT, environment, made_bytes, seedmill

RAY = Path(sys.executable).with_name("ray")
PORTS = {"--port": "26379", "--dashboard-port": "28265", "--ray-client-server-port": "20001"}
SERVER = f"http://127.0.0.1:{PORTS['--dashboard-port']}"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A head and one worker node on this machine, with a folder and a token of their own."""
    home = tmp_path_factory.mktemp("home")
    # One folder a node, as on two machines: nodes that share one delete each other's copy of the code. Short, since the
    # paths of sockets may not be long.
    folders = [tempfile.mkdtemp(prefix=f"ray-{name}-") for name in ("head", "worker")]
    env = environment(HOME=str(home), PATH=f"{RAY.parent}{os.pathsep}{os.environ['PATH']}", RAY_AUTH_MODE="disabled")
    head = [word for pair in PORTS.items() for word in pair]
    # The agent's port is a fixed one unless asked otherwise; where another Ray of this machine holds it, the agent
    # comes up without its HTTP half and the head never takes a job.
    common = ["--num-cpus", "1", "--disable-usage-stats", "--dashboard-agent-listen-port", "0", "--block"]
    nodes = [
        subprocess.Popen(
            [str(RAY), "start", "--head", "--node-ip-address", "127.0.0.1", "--temp-dir", folders[0], *head, *common],
            env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )
    ]  # fmt: skip
    try:
        wait_for(SERVER)
        nodes.append(
            subprocess.Popen(
                [str(RAY), "start", "--address", f"127.0.0.1:{PORTS['--port']}", "--temp-dir", folders[1], *common],
                env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
            )
        )  # fmt: skip
        yield SERVER
    finally:
        for node in reversed(nodes):
            os.killpg(node.pid, signal.SIGKILL)  # asked politely, a node takes half a minute
            node.wait(60)
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)


def wait_for(server: str) -> None:
    deadline = time.monotonic() + 60
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while True:
        try:
            opener.open(f"{server}/api/version", timeout=2).read()
            return
        except OSError:
            assert time.monotonic() < deadline, "the Ray head did not start"
            time.sleep(0.5)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    rows = [
        {"instruction": f"Name {n} things that float.", "output": f"Corks, boats and {n} leaves."} for n in range(40)
    ]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    path = tmp_path / "small.yaml"
    path.write_text(
        "entries:\n  - {stage: read, data: [rows.json]}\n  - stage: fix\n  - stage: filter\n  - stage: dedup\n"
    )
    return path


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_submit(cluster: str, recipe: Path, tmp_path: Path) -> None:
    command = [
        "make",
        "--no-print-directory",
        "-o",
        ".venv/.ready",
        "submit",
        f"RECIPE={recipe}",
        f"JOB_SERVER={cluster}",
    ]
    command += [f"OUTPUTS={tmp_path / 'cluster'}", "RUN=x", f"SEEDMILL={sys.executable} -m pipeline"]
    env = environment(RAY_AUTH_MODE="disabled")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "succeeded" in done.stdout
    here = seedmill("run", recipe, "--run", "x", "--outputs", tmp_path / "here", "--engine", "local")
    assert here.returncode == 0, here.stderr
    assert made_bytes(tmp_path / "cluster" / "x") == made_bytes(tmp_path / "here" / "x")


def test_a_job_server_that_is_not_there_is_a_sentence(recipe: Path) -> None:
    done = seedmill("submit", recipe, "--job-server", "http://127.0.0.1:9")
    assert done.returncode == 1
    assert "does not take the job" in done.stderr
    assert "Traceback" not in done.stderr
