"""A disk that fills up in mid-run: a sentence, nothing corrupt, and the same command goes on when there is room."""

import json
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.llm.fake.provider import FakeProvider
from pipeline.llm.ledger import Reader, ledger_facts
from tests.disks import SmallDisk, small_disk
from tests.kills import Trial
from tests.ledgers import fill
from tests.runs import RECIPES, ROOT, environment, made_bytes, seedmill

MB = 1024 * 1024


@pytest.fixture(scope="module")
def provider() -> Iterator[FakeProvider]:
    with FakeProvider(RECIPES / "calm.yaml", own_process=True) as running:
        yield running


@pytest.fixture(scope="module")
def reference(provider: FakeProvider, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The bytes of a run that never wanted for room."""
    return Trial(provider, tmp_path_factory.mktemp("reference"), "local").finish()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", 64 * MB) as mounted:
        yield mounted


def stopped(process: subprocess.Popen[str]) -> str:
    """What a run said that gave up."""
    _, said = process.communicate(timeout=180)
    assert process.returncode == 1, said
    assert "Traceback" not in said, said
    assert "hint: " in said
    return said


def whole(ledger: Path) -> bool:
    """Whether SQLite finds nothing wrong in any shard."""
    found = []
    for path in ledger.glob("shard-*.sqlite"):
        database = sqlite3.connect(path)
        found += database.execute("PRAGMA integrity_check").fetchall()
        database.close()
    return set(found) <= {("ok",)}


def goes_on(trial: Trial, expected: dict[str, str]) -> None:
    """There is room again: the same command ends with the same bytes, and asks again only what is listed as lost."""
    before = trial.note()
    assert trial.finish() == expected
    trial.check(before)
    trial.verify()


@pytest.mark.parametrize(
    "free", [MB, pytest.param(0, marks=pytest.mark.long), pytest.param(2_500_000, marks=pytest.mark.long)]
)
def test_the_ledgers_disk_fills_up(
    provider: FakeProvider, reference: dict[str, str], disk: SmallDisk, tmp_path: Path, free: int
) -> None:
    """Among the first calls, at once, and in the middle."""
    provider.reset()
    trial = Trial(provider, tmp_path / "outputs", "local", ledger=disk.folder / "ledger")
    disk.leave(free)
    said = stopped(trial.start())
    assert ("the disk of the ledger" in said and "is full" in said) or "cannot be made: [Errno 28]" in said
    disk.empty()
    assert whole(trial.ledger)
    durable = ledger_facts(trial.ledger)["calls"] if free else 0
    assert (durable > 0) == (free > 0)
    goes_on(trial, reference)


ASK = """
import sys
from pathlib import Path
from pipeline.errors import SeedmillError
from pipeline.llm.caller import Caller
from pipeline.llm.client import Client
from pipeline.llm.request import Request
from tests.scripted import spec_of

spec = spec_of(base_url=sys.argv[1], model="fake", endpoint_name="fake", concurrency=8)
try:
    with Caller({"default": spec}, Path(sys.argv[2]), "run") as caller:
        requests = (Request(prompt=f"{n} " + "word " * 200, params={"max_tokens": 50}) for n in range(800))
        for reply in Client(caller, caller.specs, "e").ask(requests, 40):
            print("seen", reply.key, flush=True)
    print("done", flush=True)
except SeedmillError as error:
    print("stopped:", error.message, flush=True)
"""


def test_every_reply_that_was_handed_out_is_in_the_ledger(provider: FakeProvider, disk: SmallDisk) -> None:
    ledger = disk.folder / "ledger"
    disk.leave(MB + MB // 2)
    seen: set[str] = set()
    for ending in ("stopped: the disk of the ledger", "done"):
        command = [sys.executable, "-c", ASK, provider.url, str(ledger)]
        done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=180)
        lines = done.stdout.splitlines()
        assert lines[-1].startswith(ending), (done.stdout[-300:], done.stderr)
        seen |= {line.split()[1] for line in lines[:-1]}
        disk.empty()
        reader = Reader(ledger)
        assert all(reader.find(key) for key in seen)
        assert whole(ledger)
    assert len(seen) == 800


def test_a_limit_on_the_size_of_files(provider: FakeProvider, reference: dict[str, str], tmp_path: Path) -> None:
    """What a full disk does, where no disk can be mounted: writing fails in the middle of a shard."""
    provider.reset()
    trial = Trial(provider, tmp_path, "local")
    said = stopped(trial.start(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (90_000, 90_000))))
    assert "cannot be written" in said
    assert whole(trial.ledger)
    assert ledger_facts(trial.ledger)["calls"] > 0
    goes_on(trial, reference)


@pytest.mark.parametrize("free", [120_000, pytest.param(8_000, marks=pytest.mark.long)])
def test_the_disk_of_the_outputs_fills_up(
    provider: FakeProvider, reference: dict[str, str], disk: SmallDisk, tmp_path: Path, free: int
) -> None:
    """No half directory is taken for whole, whatever entry it was that found no room."""
    provider.reset()
    trial = Trial(provider, disk.folder / "outputs", "local", ledger=tmp_path / "ledger")
    disk.leave(free)
    said = stopped(trial.start())
    assert "the disk is full" in said
    there = [p.name for p in (trial.outputs / "x").iterdir() if p.is_dir()]
    assert not [name for name in there if name.startswith(".")], "half a directory was left"
    for name in there:
        assert (trial.outputs / "x" / name / "manifest.json").exists()
    looked = seedmill("status", "x", "--outputs", trial.outputs, env=trial.environment())
    assert "run x: running" not in looked.stdout, "nobody works on it"
    disk.empty()
    goes_on(trial, reference)


@pytest.mark.long
def test_an_export_finds_no_room(provider: FakeProvider, reference: dict[str, str], disk: SmallDisk) -> None:
    trial = Trial(provider, disk.folder / "outputs", "local")
    assert trial.finish() == reference
    for path in (trial.outputs / "x" / "export").rglob("*"):
        if path.is_file():
            path.unlink()
    disk.leave(30_000)
    assert "the disk is full" in stopped(trial.start())
    assert not [p for p in (trial.outputs / "x").iterdir() if "partial" in p.name]
    disk.empty()
    assert trial.finish() == reference


def test_ledger_commands_on_a_full_disk(disk: SmallDisk) -> None:
    """An export leaves no half file; pruning makes room with very little of it to begin with."""
    fill(disk.folder / "ledger", "old", range(300), text="word " * 1500)
    fill(disk.folder / "ledger", "new", range(300, 310))
    options = ("--outputs", disk.folder)
    disk.leave(600_000)
    done = seedmill("ledger", "export", "-o", disk.folder / "x.jsonl", *options, env=environment())
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "cannot be written" in done.stderr
    assert not list(disk.folder.glob("*x.jsonl*"))
    room = disk.room
    done = seedmill("ledger", "prune", "--run", "old", "--yes", "--json", *options, env=environment())
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["calls"] == 300
    assert disk.room - room > 300 * 1500 * 5 * 0.9 > told["kept_back"]
    assert whole(disk.folder / "ledger")
    assert ledger_facts(disk.folder / "ledger")["calls"] == 10


def test_status_json_that_cannot_be_written_stops_nothing(disk: SmallDisk, tmp_path: Path) -> None:
    """The disk is full for a while and a run's thread goes on watching, being watched and being steered."""
    from pipeline.errors import IncompleteError
    from pipeline.status import Status, await_answer, command_run
    from tests.scripted import until

    shown: list[str] = []
    status = Status(disk.folder, ["read"], lambda snapshot: shown.append(snapshot["state"]))
    disk.leave(0)
    until(lambda: len(shown) >= 2)
    disk.empty()
    assert await_answer(disk.folder, command_run(disk.folder, "stop"), lambda: True) == "stops after what it is at"
    with pytest.raises(IncompleteError):
        status.checkpoint()
    status.close("incomplete", "stopped")
    assert json.loads((disk.folder / "status.json").read_text())["state"] == "incomplete"
    assert made_bytes(disk.folder) == {}
