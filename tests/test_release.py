"""Releases: what was published is what `datasets` loads, a kill leaves the old release or the new one, versions."""

import hashlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import pyarrow.parquet as pq
import pytest

from pipeline.errors import DataError, SeedmillError, UsageError
from pipeline.export.files import write_export
from pipeline.export.settings import Settings
from pipeline.hub_release import Wishes, publish_folder
from pipeline.personal_data import personal_data
from pipeline.record import Message, Record
from pipeline.release import Published, local_files, next_version
from tests.doubles import stream_of
from tests.local_hub import Blob, Fault, Kill, LocalHub, PullRequest, Repo, local_hub
from tests.test_publish import ROOT, TOKEN, settings

REPO = "alice/tasks"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    with local_hub() as hub:
        hub.tokens[TOKEN] = ("alice", True)
        settings(monkeypatch, tmp_path / "hf")
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        huggingface_hub.close_session()
        yield hub
        huggingface_hub.close_session()


def rows(count: int, start: int = 0) -> list[Record]:
    return [
        Record(
            id=f"r{i}",
            messages=(
                Message(role="user", content=f"第{i}个问题 \u2028 {'x' * i}"),
                Message(role="assistant", content=f"Answer {i} 🙂", thinking="hm" if i % 3 else None),
            ),
            input="with input" if i % 2 else None,
            tags={"topic": f"t{i % 4}"},
            scores={"accuracy": i / 7},
            source="s",
            method="m",
            license="mit",
        )
        for i in range(start, start + count)
    ]


def export(folder: Path, found: list[Record], **wanted: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    mark = hashlib.sha256(repr([r.id for r in found]).encode()).hexdigest()
    write_export(stream_of(folder, found), folder / "export", Settings(**wanted), fingerprint=mark)
    return folder / "export"


def publish(folder: Path, **wishes: Any) -> Published:
    return publish_folder(folder, REPO, Wishes(**wishes), sleep=lambda _: None)


def dataset(hub: LocalHub) -> Repo:
    return hub.repos["datasets", REPO]


def released(folder: Path) -> dict[str, bytes]:
    return {name: path.read_bytes() for name, path in local_files(folder).items()}


def held(files: dict[str, Blob]) -> dict[str, bytes]:
    return {path: blob.data for path, blob in files.items() if path != ".gitattributes"}


LOAD = """
import json, sys
from datasets import load_dataset
print(json.dumps([
    {name: split.to_list() for name, split in load_dataset("alice/tasks", revision=revision).items()}
    for revision in sys.argv[1:]
]))
"""


def loaded(hub: LocalHub, home: Path, *revisions: str) -> list[dict[str, list[dict[str, Any]]]]:
    """What the real `datasets` reads from the Hub, in a process of its own: it takes the endpoint at its import."""
    mine = {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
    done = subprocess.run(
        [sys.executable, "-c", LOAD, *revisions],
        env={"PATH": os.environ["PATH"], "HOME": str(home), "NO_PROXY": "127.0.0.1,localhost"} | mine,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def as_parquet_says(folder: Path, split: str) -> list[dict[str, Any]]:
    return [row for path in sorted((folder / "data").glob(f"{split}-*")) for row in pq.read_table(path).to_pylist()]


def test_datasets_loads_every_row_of_every_split_and_shard(hub: LocalHub, tmp_path: Path) -> None:
    if importlib.util.find_spec("datasets") is None:
        pytest.skip("the library `datasets` is not installed")
    folder = export(tmp_path, rows(300), split={"validation": 0.2}, shard_mb=0.03)
    assert len(list((folder / "data").glob("train-*"))) > 2
    publish(folder, tag="v1.0")
    expected = {split: as_parquet_says(folder, split) for split in ("train", "validation")}
    publish(export(tmp_path, rows(20)), tag="v2.0")
    found, second, newest = loaded(hub, tmp_path / "home", "v1.0", "v2.0", "main")
    assert found == expected
    assert second == newest == {"train": as_parquet_says(tmp_path / "export", "train")}
    by_id = {row["id"]: row for split in found.values() for row in split}
    assert len(by_id) == 300
    for record in rows(300):
        row = by_id[record.id]
        assert row["messages"][0]["content"].startswith(record.instruction)
        assert [m["thinking"] for m in row["messages"]] == [m.thinking for m in record.messages]
        assert {item["key"]: item["value"] for item in row["scores"]} == record.scores


def run_and_kill(hub: LocalHub, folder: Path, at: int, after: bool, **wishes: Any) -> bool:
    """Publish in a child process that ends at a request; whether it did before it was done."""
    ready, go = os.pipe()
    huggingface_hub.close_session()
    pid = os.fork()
    if pid == 0:
        os.read(ready, 1)
        status = 1
        try:
            # Nothing is looked for in the files: its libraries have threads, which do not survive a fork.
            publish(folder, allow_secrets=True, allow_personal=True, **wishes)
            status = 0
        finally:
            os._exit(status)
    hub.asked.clear()
    hub.kill = Kill(pid, at, after)
    os.write(go, b"x")
    _, status = os.waitpid(pid, 0)
    os.close(ready)
    os.close(go)
    hub.kill = None
    assert status in (0, signal.SIGKILL)
    return status == signal.SIGKILL


@pytest.mark.parametrize(
    ("wishes", "after"), [({}, False), ({}, True), ({"pull_request": True}, True), ({"tag": "auto"}, False)], ids=str
)
def test_a_kill_at_any_request_leaves_the_old_release_or_the_new_and_a_rerun_ends_it(
    hub: LocalHub, tmp_path: Path, wishes: dict[str, Any], after: bool
) -> None:
    old, new = export(tmp_path / "old", rows(40)), export(tmp_path / "new", rows(60), shard_mb=0.01)
    before, goal = released(old), released(new)
    kills = 0
    for at in range(1, 40):
        hub.repos.clear()
        hub.storage.clear()
        publish(old, tag="v1.0")
        killed = run_and_kill(hub, new, at, after, **wishes)
        repo = dataset(hub)
        for commit in (*repo.commits[1:], *(c for r in repo.requests.values() for c in r.commits)):
            assert held(commit.files) in (before, goal)
        if not killed:
            break
        kills += 1
        publish(new, **wishes)
        if "pull_request" in wishes:
            assert held(repo.commits[-1].files) == before
            assert [held(r.commits[-1].files) for r in repo.requests.values()] == [goal]
        else:
            assert held(repo.commits[-1].files) == goal
            assert len(repo.commits) == 3
        expected = {"v1.0": repo.commits[1].oid} | ({"v1.1": repo.commits[-1].oid} if wishes.get("tag") else {})
        assert repo.tags == expected
    assert kills >= 10


def test_a_large_file_that_is_there_is_not_sent_again_after_a_kill(hub: LocalHub, tmp_path: Path) -> None:
    folder = export(tmp_path, rows(60), shard_mb=0.01)
    hub.make("datasets", REPO, private=True)
    assert run_and_kill(hub, folder, 9, after=True)
    sent = set(hub.storage)
    assert sent
    hub.asked.clear()
    publish(folder)
    assert not {line.rsplit("/", 1)[1] for line in hub.lines("PUT /storage/")} & sent


def test_a_pull_request_is_opened_once_and_added_to(hub: LocalHub, tmp_path: Path) -> None:
    folder = export(tmp_path, rows(5))
    publish(folder)
    repo = dataset(hub)
    repo.requests[1] = PullRequest("seedmill: 1 added", "mallory", commits=[repo.commits[-1]])
    assert publish(folder, pull_request=True).commit is None
    folder = export(tmp_path, rows(6))
    rehearsed = publish(folder, pull_request=True, dry_run=True)
    assert "as a new pull request" in rehearsed.sentence()
    done = publish(folder, pull_request=True)
    assert (done.request, len(repo.commits)) == ("refs/pr/2", 2)
    assert done.sentence().startswith("proposed in pull request refs/pr/2 of ")
    assert held(repo.requests[2].commits[-1].files) == released(folder)
    again = publish(folder, pull_request=True)
    assert (again.commit, again.request, len(repo.requests)) == (None, "refs/pr/2", 2)
    folder = export(tmp_path, rows(7))
    assert "added to the open pull request refs/pr/2" in publish(folder, pull_request=True, dry_run=True).sentence()
    publish(folder, pull_request=True)
    assert [len(repo.requests[n].commits) for n in (1, 2)] == [1, 2]
    assert held(repo.requests[2].commits[-1].files) == released(folder)
    repo.requests[2].status = "closed"
    assert publish(folder, pull_request=True).request == "refs/pr/3"
    assert len(repo.commits) == 2


def test_versions_are_tagged_counted_and_never_moved(hub: LocalHub, tmp_path: Path) -> None:
    folder = export(tmp_path, rows(5))
    assert "tagged v1.0" in publish(folder, tag="auto", dry_run=True).sentence()
    first = publish(folder, tag="auto")
    repo = dataset(hub)
    assert (first.tag, repo.tags) == ("v1.0", {"v1.0": first.commit})
    assert publish(folder, tag="auto").tag is None
    assert publish(folder, tag="v1.0").tag is None
    assert publish(folder, tag="beta").tag == "beta"
    assert repo.tags["beta"] == first.commit
    folder = export(tmp_path, rows(6))
    for dry_run in (True, False):
        with pytest.raises(UsageError, match=r"the tag v1\.0 of alice/tasks names another version already") as caught:
            publish(folder, tag="v1.0", dry_run=dry_run)
        assert "v1.1" in str(caught.value.hint)
    assert len(repo.commits) == 2
    second = publish(folder, tag="auto")
    assert (second.tag, repo.tags["v1.1"]) == ("v1.1", second.commit)
    assert next_version(["v1.9", "v1.10", "v2", "x"]) == "v1.11"


@pytest.mark.parametrize("tag", ["", "a b", "../x", "v1.", "x.lock", "-v", "a..b"])
def test_a_malformed_tag_is_refused_before_any_request(hub: LocalHub, tmp_path: Path, tag: str) -> None:
    with pytest.raises(UsageError, match="cannot be a tag"):
        publish(export(tmp_path, rows(2)), tag=tag)
    with pytest.raises(UsageError, match="a pull request cannot be tagged"):
        publish(export(tmp_path, rows(2)), tag="v1", pull_request=True)
    assert hub.asked == []


@pytest.mark.parametrize("match", [r"GET .*/refs$", r"POST .*/tag/", r"GET .*/discussions", r"GET /api/whoami"])
@pytest.mark.parametrize("status", [429, 503])
def test_a_passing_trouble_with_tags_or_pull_requests_changes_nothing(
    hub: LocalHub, tmp_path: Path, match: str, status: int
) -> None:
    folder = export(tmp_path, rows(5))
    publish(folder)
    dataset(hub).requests[1] = PullRequest("seedmill: mine", "alice", "closed")
    dataset(hub).requests[2] = PullRequest("seedmill: theirs", "bob", commits=[dataset(hub).commits[-1]])
    wishes: dict[str, Any] = {"pull_request": True} if "discussions" in match or "whoami" in match else {"tag": "auto"}
    fault = Fault(match, status)
    hub.faults.append(fault)
    folder = export(tmp_path, rows(6))
    done = publish(folder, **wishes)
    assert fault.times == 0
    assert done.commit
    repo = dataset(hub)
    assert (len(repo.requests), len(repo.commits)) == ((3, 2) if "pull_request" in wishes else (2, 3))
    assert list(repo.tags) == ([] if "pull_request" in wishes else ["v1.0"])


def test_somebody_elses_commit_before_the_pull_request_is_taken_in(hub: LocalHub, tmp_path: Path) -> None:
    publish(export(tmp_path, rows(5)))
    repo = dataset(hub)
    hub.before_commit.append(lambda: repo.commit("theirs", repo.commits[-1].files | {"notes.md": Blob(b"x")}))
    folder = export(tmp_path, rows(6))
    publish(folder, pull_request=True)
    (request,) = repo.requests.values()
    assert held(request.commits[-1].files) == released(folder) | {"notes.md": b"x"}


def test_a_file_that_was_changed_after_the_export_is_not_published(hub: LocalHub, tmp_path: Path) -> None:
    folder = export(tmp_path, rows(5))
    (folder / "alpaca.json").write_text("[]")
    with pytest.raises(DataError, match=r"alpaca\.json is not what was exported"):
        publish(folder)
    (folder / "alpaca.json").unlink()
    with pytest.raises(DataError, match=r"alpaca\.json is missing"):
        publish(folder)
    assert hub.asked == []


PRIVATE = {
    "email-address": "write to emma.watson.1990@gmail.com",
    "phone-number": "请拨打13867529034联系我",
    "id-number": "身份证号 11010519491231002X",
    "card-number": "card 4539578763621486",
    "account-number": "pay to DE89370400440532013000",
    "ip-address": "the host 59.187.84.127",
}


@pytest.mark.parametrize("kind", PRIVATE)
@pytest.mark.parametrize("formats", [("parquet",), ("alpaca",), ("messages",)], ids=lambda names: names[0])
def test_personal_data_in_a_row_stops_the_release_unless_told(
    hub: LocalHub, tmp_path: Path, kind: str, formats: tuple[str, ...]
) -> None:
    found = rows(5)
    found[3] = replace(found[3], messages=(found[3].messages[0], Message(role="assistant", content=PRIVATE[kind])))
    folder = export(tmp_path, found, formats=formats)
    with pytest.raises(DataError, match=f"personal data: .*{kind} in 1 rows .first in .* row 4") as caught:
        publish(folder)
    assert PRIVATE[kind].split()[-1] not in str(caught.value)
    assert f"mask-{kind}" in str(caught.value.hint)
    assert "--allow-personal" in str(caught.value.hint)
    assert hub.asked == []
    rehearsed = publish(folder, dry_run=True)
    assert rehearsed.difference.added
    assert "note: publishing would stop, since rows hold what looks like personal data" in rehearsed.sentence()
    assert str(caught.value.hint) in rehearsed.sentence()
    assert publish(folder, allow_personal=True).commit


def test_what_a_masked_or_plain_row_holds_passes(tmp_path: Path) -> None:
    said = ["<EMAIL>", "mail@example.com", "call 555-0100", "127.0.0.1", "in 1984 and 2024", "a0b1" * 5]
    found = [
        replace(rows(1)[0], id=f"13912345678{i}", messages=(Message(role="user", content=s),))
        for i, s in enumerate(said)
    ]
    for formats in (("parquet",), ("messages",)):
        assert personal_data(local_files(export(tmp_path / formats[0], found, formats=formats))) is None


def test_a_hub_that_stays_down_while_tagging_ends_in_a_sentence_and_a_rerun_tags(hub: LocalHub, tmp_path: Path) -> None:
    folder = export(tmp_path, rows(5))
    hub.faults.append(Fault(r"POST .*/tag/", 503, times=5))
    with pytest.raises(SeedmillError, match="answers with 503"):
        publish(folder, tag="v1.0")
    assert dataset(hub).tags == {}
    done = publish(folder, tag="v1.0")
    assert (done.commit, done.tag) == (None, "v1.0")
    assert "nothing to publish" in done.sentence()
    assert done.sentence().endswith("tagged v1.0")
