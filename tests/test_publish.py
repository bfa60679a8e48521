import gzip
import hashlib
import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import polars as pl
import pytest
from huggingface_hub import constants

from pipeline.errors import DataError, SeedmillError, UsageError
from pipeline.hub import fetch_model
from pipeline.hub_release import TRIES, Wishes, publish_folder
from pipeline.leaks import Leak, leaks_in
from pipeline.release import Published, git_oid, size_text
from tests.local_hub import Blob, Fault, LocalHub, Repo, local_hub

ROOT = Path(__file__).parent.parent
TOKEN = "hf_" + "QwErTyUiOpAsDfGhJkLzXcVbNmQwErTyUi"
KEY = "sk-" + "proj-4fXq9LmZ2vR7tKbW8sYcD3nH"
CARD = "---\nlicense: cc-by-4.0\n---\n# Tasks\n"
REPO = "alice/tasks"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    """A Hub that knows alice, whose token is in the environment; the library's files are in `tmp_path`."""
    with local_hub() as hub:
        hub.tokens[TOKEN] = ("alice", True)
        settings(monkeypatch, tmp_path / "hf")
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        huggingface_hub.close_session()
        yield hub
        huggingface_hub.close_session()


def settings(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """huggingface_hub reads these from the environment when it is imported, so they are set where they are kept."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_RESOURCE", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    monkeypatch.setattr(constants, "HF_STORED_TOKENS_PATH", str(home / "stored_tokens"))


def write(folder: Path, files: dict[str, bytes]) -> Path:
    """An export folder of these files, with its SHA256SUMS and the manifest that stays local."""
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(files.items()))
    (folder / "SHA256SUMS").write_text(sums)
    (folder / "manifest.json").write_text('{"fingerprint": "0"}')
    (folder / ".cache").mkdir(exist_ok=True)
    (folder / ".cache" / "x").write_text("local")
    return folder


def table(rows: int) -> bytes:
    path = Path(os.environ["PYTEST_TABLES"]) / f"{rows}.parquet"
    pl.DataFrame({"instruction": [f"task {i}" for i in range(rows)]}).write_parquet(path)
    return path.read_bytes()


@pytest.fixture(autouse=True)
def _tables(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_TABLES", str(tmp_path_factory.mktemp("tables")))


def release() -> dict[str, bytes]:
    return {"README.md": CARD.encode(), "alpaca.json": b"[]\n", "data/train-0.parquet": table(3)}


def publish(folder: Path, waits: list[float] | None = None, **wishes: Any) -> Published:
    return publish_folder(folder, REPO, Wishes(**wishes), sleep=(waits if waits is not None else []).append)


def paths(published: Published, kind: str) -> list[str]:
    return [change.path for change in getattr(published.difference, kind)]


def held(repo: Repo) -> dict[str, bytes]:
    return {path: data for path, data in repo.files.items() if path != ".gitattributes"}


def released(folder: Path) -> dict[str, bytes]:
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if name != "manifest.json" and name[0] != "."}


def dataset(hub: LocalHub) -> Repo:
    return hub.repos["datasets", REPO]


def test_the_first_release_is_one_commit_in_a_new_private_dataset(hub: LocalHub, tmp_path: Path) -> None:
    folder = write(tmp_path / "export", release())
    done = publish(folder)
    repo = dataset(hub)
    assert repo.private
    assert [commit.title for commit in repo.commits] == ["initial commit", "seedmill: 4 added"]
    assert held(repo) == released(folder)
    assert {path for path, blob in repo.commits[-1].files.items() if blob.lfs} == {"data/train-0.parquet"}
    assert done.commit == repo.commits[-1].oid
    assert paths(done, "added") == sorted(released(folder))
    assert f"published to {hub.url}/datasets/{REPO} (private): 4 added" in done.sentence()


def test_what_was_published_reads_back_byte_for_byte(hub: LocalHub, tmp_path: Path) -> None:
    folder = write(tmp_path / "export", release() | {"data/empty.parquet": b""})
    publish(folder, allow_secrets=True, allow_personal=True)
    for name, data in released(folder).items():
        found = huggingface_hub.hf_hub_download(
            REPO, name, repo_type="dataset", endpoint=hub.url, token=TOKEN, cache_dir=tmp_path / "cache"
        )
        assert Path(found).read_bytes() == data


def test_an_unchanged_folder_makes_no_commit_and_uploads_nothing(hub: LocalHub, tmp_path: Path) -> None:
    folder = write(tmp_path / "export", release())
    publish(folder)
    hub.asked.clear()
    again = publish(folder)
    assert again.commit is None
    assert len(dataset(hub).commits) == 2
    assert [asked.line.split()[0] for asked in hub.asked] == ["GET", "GET"]
    assert again.sentence().startswith("nothing to publish")
    assert again.difference.empty


def test_a_changed_folder_makes_one_commit_of_exactly_what_changed(hub: LocalHub, tmp_path: Path) -> None:
    folder = write(tmp_path / "export", release())
    publish(folder)
    write(folder, release() | {"data/train-0.parquet": table(9), "new.txt": b"new"})
    done = publish(folder)
    commit = dataset(hub).commits[-1]
    assert len(dataset(hub).commits) == 3
    assert set(commit.operations) == {
        ("file", "SHA256SUMS"),
        ("file", "new.txt"),
        ("lfsFile", "data/train-0.parquet"),
    }
    assert paths(done, "unchanged") == ["README.md", "alpaca.json"]
    assert done.difference.changed[-1].was == len(table(3))


def test_only_what_an_earlier_release_of_ours_left_is_deleted(hub: LocalHub, tmp_path: Path) -> None:
    folder = write(tmp_path / "export", release() | {"data/train-1.parquet": table(4), "sharegpt.json": b"[]"})
    publish(folder)
    repo = dataset(hub)
    foreign = {"notes.md": Blob(b"mine"), "data/by-hand.csv": Blob(b"a,b"), "data/.keep": Blob(b"")}
    repo.commit("by hand", repo.commits[-1].files | foreign)
    for name in ("data/train-1.parquet", "sharegpt.json"):
        (folder / name).unlink()
    write(folder, release())
    done = publish(folder)
    assert paths(done, "deleted") == ["data/train-1.parquet", "sharegpt.json"]
    assert paths(done, "left") == [".gitattributes", "data/.keep", "data/by-hand.csv", "notes.md"]
    assert held(repo) == released(folder) | {path: blob.data for path, blob in foreign.items()}
    assert len(repo.commits) == 4


def test_a_release_without_checksums_owns_the_data_folder_only(hub: LocalHub, tmp_path: Path) -> None:
    folder = write(tmp_path / "export", release() | {"data/train-1.parquet": table(4), "sharegpt.json": b"[]"})
    (folder / "SHA256SUMS").unlink()
    publish(folder)
    (folder / "data" / "train-1.parquet").unlink()
    (folder / "sharegpt.json").unlink()
    done = publish(folder)
    assert paths(done, "deleted") == ["data/train-1.parquet"]
    assert paths(done, "left") == [".gitattributes", "sharegpt.json"]


def test_nothing_is_deleted_where_no_release_is_ours(hub: LocalHub, tmp_path: Path) -> None:
    theirs = {"data/part.csv": Blob(b"a,b"), "SHA256SUMS": Blob(b"0" * 64 + b"  data/part.csv\n")}
    repo = hub.make("datasets", REPO, theirs, private=True)
    folder = write(tmp_path / "export", release())
    done = publish(folder)
    assert paths(done, "deleted") == []
    assert repo.files["data/part.csv"] == b"a,b"


def test_any_sequence_of_folders_leaves_what_the_last_one_holds(hub: LocalHub, tmp_path: Path) -> None:
    choice = random.Random(7)
    folder, commits, before = tmp_path / "export", 1, None
    for _ in range(12):
        files = {"README.md": CARD.encode()}
        for name in ("alpaca.json", "data/a.parquet", "data/b.parquet", "messages.jsonl"):
            if (version := choice.randrange(3)) > 0:
                files[name] = table(version) if name.endswith("parquet") else b"[]\n" * version
        for path in folder.rglob("*"):
            if path.is_file():
                path.unlink()
        done = publish(write(folder, files))
        commits += before != released(folder)
        before = released(folder)
        assert held(dataset(hub)) == before
        assert len(dataset(hub).commits) == commits
        assert (done.commit is None) == done.difference.empty


def test_a_tree_of_several_pages_is_read_whole(hub: LocalHub, tmp_path: Path) -> None:
    hub.page = 2
    folder = write(tmp_path / "export", release())
    publish(folder)
    assert publish(folder).commit is None


TROUBLES = [
    (Fault(r"GET /api/datasets/alice/tasks$", 429, headers={"Retry-After": "7"}), [7.0]),
    (Fault(r"GET /api/datasets/alice/tasks$", 429, headers={"Retry-After": "99999"}), [300.0]),
    (Fault(r"POST /api/repos/create", 503, times=2), [1.0, 2.0]),
    (Fault(r"POST /api/validate-yaml", 503), [1.0]),
    (Fault(r"POST .*/commit/", 503, times=3), [1.0, 2.0, 4.0]),
    (Fault(r"POST .*/commit/", 429), [1.0]),
    (Fault(r"POST .*/commit/", after=True), [1.0]),
    (Fault(r"PUT /storage/", 503), []),
]


@pytest.mark.parametrize(("fault", "expected"), TROUBLES, ids=lambda value: getattr(value, "match", None))
def test_a_passing_trouble_changes_nothing(hub: LocalHub, tmp_path: Path, fault: Fault, expected: list[float]) -> None:
    fault = Fault(**vars(fault))
    hub.faults.append(fault)
    folder = write(tmp_path / "export", release())
    waits: list[float] = []
    publish(folder, waits)
    assert fault.times == 0
    assert waits == expected
    assert held(dataset(hub)) == released(folder)
    assert len(dataset(hub).commits) == 2


def test_a_lasting_trouble_ends_after_a_bounded_number_of_tries(hub: LocalHub, tmp_path: Path) -> None:
    hub.faults.append(Fault(r"POST .*/commit/", 503, times=10**6))
    waits: list[float] = []
    with pytest.raises(SeedmillError, match="answers with 503"):
        publish(write(tmp_path / "export", release()), waits)
    assert len(hub.lines("/commit/")) == TRIES
    assert waits == [1.0, 2.0, 4.0, 8.0]


def test_somebody_elses_commit_in_between_survives(hub: LocalHub, tmp_path: Path) -> None:
    folder = write(tmp_path / "export", release())
    publish(folder)
    repo = dataset(hub)
    write(folder, release() | {"alpaca.json": b"[1]\n"})
    hub.before_commit.append(lambda: repo.commit("theirs", repo.commits[-1].files | {"notes.md": Blob(b"theirs")}))
    waits: list[float] = []
    publish(folder, waits)
    assert waits == [1.0]
    assert [commit.title for commit in repo.commits[2:]] == ["theirs", "seedmill: 2 changed, 2 unchanged"]
    assert held(repo) == released(folder) | {"notes.md": b"theirs"}


def test_somebody_who_is_always_quicker_is_named(hub: LocalHub, tmp_path: Path) -> None:
    repo = hub.make("datasets", REPO, private=True)
    for number in range(TRIES):
        hub.before_commit.append(
            lambda number=number: repo.commit("theirs", repo.commits[-1].files | {"n": Blob(b"%d" % number)})  # type: ignore[misc]
        )
    with pytest.raises(SeedmillError, match="somebody else keeps changing the dataset alice/tasks"):
        publish(write(tmp_path / "export", release()))


def test_a_file_that_the_repository_ignores_is_not_lost_silently(hub: LocalHub, tmp_path: Path) -> None:
    hub.make("datasets", REPO, {".gitignore": Blob(b"*.json\n")}, private=True)
    with pytest.raises(SeedmillError, match=r"lacks alpaca\.json") as caught:
        publish(write(tmp_path / "export", release()))
    assert ".gitignore" in str(caught.value.hint)


def test_a_commit_that_cannot_be_read_back_is_reported_with_a_note(hub: LocalHub, tmp_path: Path) -> None:
    repo = hub.make("datasets", REPO, private=True)
    hub.before_commit.append(lambda: hub.faults.append(Fault(r"GET .*/tree/", 403)))
    done = publish(write(tmp_path / "export", release()))
    assert done.commit == repo.commits[-1].oid
    assert "could not be read back" in done.sentence()


def test_the_hubs_remarks_on_the_card_are_passed_on(hub: LocalHub, tmp_path: Path) -> None:
    done = publish(write(tmp_path / "export", release() | {"README.md": b"# no metadata\n"}))
    assert "note: Warnings while validating metadata in README.md: - empty or missing yaml metadata" in done.sentence()


def test_a_card_that_the_hub_refuses_stops_before_any_upload(hub: LocalHub, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r'metadata at the top of README\.md: "license" must be a string'):
        publish(write(tmp_path / "export", release() | {"README.md": b"---\nlicense: [mit]\n---\n"}))
    assert hub.storage == {}
    assert len(dataset(hub).commits) == 1


@pytest.mark.parametrize("name", ["tasks", "alice/", "datasets/alice/tasks", "alice/ta sks", "alice/../tasks", ""])
def test_a_malformed_name_is_refused_before_any_request(hub: LocalHub, tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"'{name}'")) as caught:
        publish_folder(write(tmp_path / "export", release()), name)
    assert "USER/NAME" in str(caught.value.hint)
    assert hub.asked == []


def test_an_empty_folder_is_refused(hub: LocalHub, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(UsageError, match="nothing to publish"):
        publish(tmp_path)


def test_without_a_token_the_next_step_is_named(hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(UsageError, match="no Hugging Face token") as caught:
        publish(write(tmp_path / "export", release()))
    assert "hf auth login" in str(caught.value.hint)
    assert "HF_TOKEN" in str(caught.value.hint)
    assert hub.asked == []


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_wrong_token_is_named_and_not_shown(
    hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dry_run: bool
) -> None:
    wrong = "hf_" + "wrongwrongwrongwrongwrongwrong"
    monkeypatch.setenv("HF_TOKEN", wrong)
    with pytest.raises(UsageError, match="does not accept the token") as caught:
        publish(write(tmp_path / "export", release()), dry_run=dry_run)
    assert "hf auth login" in str(caught.value.hint)
    assert wrong not in str(caught.value)
    assert len(hub.asked) == 1


def test_a_token_that_the_server_repeats_is_masked(hub: LocalHub, tmp_path: Path) -> None:
    hub.make("datasets", REPO, private=True)
    said = json.dumps({"error": f"no rights for {TOKEN}"}).encode()
    hub.faults.append(Fault(r"POST .*/commit/", 403, body=said))
    with pytest.raises(UsageError, match=r"no rights for \*\*\*") as caught:
        publish(write(tmp_path / "export", release()))
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("there", [False, True])
def test_no_right_to_write_is_told(hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    if there:
        hub.make("datasets", REPO)
    hub.tokens["hf_" + "bobbobbobbobbobbobbobbobbobbobbob"] = ("bob", True)
    monkeypatch.setenv("HF_TOKEN", list(hub.tokens)[-1])
    with pytest.raises(UsageError, match=r"no right to do that to the dataset alice/tasks: .*(rights|write access)"):
        publish(write(tmp_path / "export", release()), private=False)


def test_a_private_release_never_goes_into_a_public_dataset(hub: LocalHub, tmp_path: Path) -> None:
    repo = hub.make("datasets", REPO, private=False)
    folder = write(tmp_path / "export", release())
    for dry_run in (True, False):
        with pytest.raises(UsageError, match="is public, and this release was to be private"):
            publish(folder, dry_run=dry_run)
    assert len(repo.commits) == 1
    assert publish(folder, private=False).private is False
    assert len(repo.commits) == 2


def test_an_endpoint_out_of_reach_is_a_sentence(hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "export", release())
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    waits: list[float] = []
    with pytest.raises(SeedmillError, match=r"127\.0\.0\.1:1 cannot be reached: .*refused") as caught:
        publish(folder, waits)
    assert "HF_ENDPOINT" in str(caught.value.hint)
    assert len(waits) == TRIES - 1
    monkeypatch.setenv("HF_ENDPOINT", "hub.example")
    with pytest.raises(UsageError, match=r"HF_ENDPOINT is 'hub\.example'"):
        publish(folder)
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    waits.clear()
    with pytest.raises(SeedmillError, match="HF_HUB_OFFLINE is set"):
        publish(folder, waits)
    assert waits == []


def test_a_rehearsal_needs_neither_network_nor_token(
    hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "export", release())
    monkeypatch.delenv("HF_TOKEN")
    absent = publish(folder, dry_run=True)
    assert (absent.hub, absent.private) == ("absent", True)
    assert "has no dataset alice/tasks" in absent.sentence()
    hub.faults.append(Fault("GET", 503))
    down = publish(folder, dry_run=True)
    assert (down.hub, "answers with 503" in down.sentence()) == ("unreachable", True)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    offline = publish(folder, dry_run=True)
    assert offline.hub == "unreachable"
    assert "http://127.0.0.1:1 cannot be reached" in offline.sentence()
    for done in (absent, down, offline):
        assert paths(done, "added") == sorted(released(folder))
        assert "every file counts as new" in done.sentence()
        assert done.commit is None
    assert not [asked for asked in hub.asked if not asked.line.startswith("GET")]


def test_a_rehearsal_says_exactly_what_publishing_then_does(hub: LocalHub, tmp_path: Path) -> None:
    folder = write(tmp_path / "export", release() | {"gone.json": b"[]"})
    publish(folder)
    (folder / "gone.json").unlink()
    write(folder, release() | {"alpaca.json": b"[1, 2]\n", "new.jsonl": b"{}\n"})
    hub.asked.clear()
    before = publish(folder, dry_run=True)
    assert {asked.line.split()[0] for asked in hub.asked} <= {"GET", "HEAD"}
    assert len(dataset(hub).commits) == 2
    after = publish(folder)
    assert before.difference == after.difference
    text = before.sentence()
    for line in (
        r"  add +new\.jsonl +3 B",
        r"  change +alpaca\.json +7 B  \(was 3 B\)",
        r"  delete +gone\.json +2 B",
        r"  keep +README\.md",
        r"  not ours +\.gitattributes",
        r"1 added, 2 changed, 1 deleted, 2 unchanged; \d+ B to upload",
    ):
        assert re.search(line, text), text
    facts = json.loads(json.dumps(before.as_json()))
    assert facts["added"] == [{"path": "new.jsonl", "bytes": 3, "was": None}]
    assert facts["dry_run"] is True
    assert [row["path"] for row in facts["deleted"]] == ["gone.json"]


PLACES: list[tuple[str, Callable[[str], bytes], str]] = [
    ("alpaca.json", lambda s: json.dumps([{"a": 1}, {"output": f"use\n{s} now"}], indent=1).encode(), "line 6"),
    ("messages.jsonl", lambda s: b"{}\n" + json.dumps({"content": f"密钥{s}。"}).encode(), "line 2"),
    ("zh.jsonl", lambda s: json.dumps({"content": f"密钥{s}。"}, ensure_ascii=False).encode(), "line 1"),
    ("long.jsonl", lambda s: b'{"a": "a task-force of 1"}\n' * 60_000 + f"{s}\n\n".encode(), "line 60001"),
    ("README.md", lambda s: f"{CARD}\n`{s}`\n".encode(), "line 6"),
    ("rows.json.gz", lambda s: gzip.compress(f"\n\n{s}".encode()), "line 3"),
    ("data/train.parquet", lambda s: nested(2_500, 2_100, s), "row 2101"),
]


def nested(rows: int, at: int, secret: str) -> bytes:
    path = Path(os.environ["PYTEST_TABLES"]) / "nested.parquet"
    texts = [f"my key is {secret}" if i == at else f"text {i}" for i in range(rows)]
    talk = [[{"role": "user", "content": text, "calls": None}] for text in texts]
    pl.DataFrame({"id": range(rows), "messages": talk, "tags": [["a"]] * rows}).write_parquet(path)
    return path.read_bytes()


@pytest.mark.parametrize(("name", "wrap", "place"), PLACES, ids=[name for name, _, _ in PLACES])
@pytest.mark.parametrize("secret", [TOKEN, KEY])
def test_a_secret_anywhere_stops_the_release_and_is_not_shown(
    hub: LocalHub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    wrap: Callable[[str], bytes],
    place: str,
    secret: str,
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_" + "AnotherOneAnotherOneAnotherOneAnot")
    folder = write(tmp_path / "export", release() | {name: wrap(secret)})
    for dry_run in (False, True):
        with pytest.raises(DataError, match=re.escape(f"{name} {place}: ")) as caught:
            publish(folder, dry_run=dry_run)
        assert secret[6:12] not in str(caught.value)
    assert hub.asked == []
    hub.tokens[os.environ["HF_TOKEN"]] = ("alice", True)
    assert publish(folder, allow_secrets=True).commit


REAL = {
    "an AWS key id": "AKIA" + "Q3EGZ7JX2MWD5KTR",
    "a GitHub token": "ghp_" + "a8Kd0Lq3Zx7Vn2Bm5Wc9Ty4Ru6Pi1Os3Ef7G",
    "a GitLab token": "glpat-" + "x8Kd0Lq3Zx7Vn2Bm5Wc9",
    "a Google key": "AIza" + "SyA8Kd0Lq3Zx7Vn2Bm5Wc9Ty4Ru6Pi1Os3E",
    "a Slack token": "xoxb-" + "204815163264-a8Kd0Lq3Zx7Vn2Bm5Wc9",
    "a private key": "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEpAIBAAKCAQEA7bq3hF1nWk2vJ8sYt5cXoP9rLzU6aG4e" + "\n",
    "an API key": KEY,
    "a Hugging Face token": TOKEN,
}


@pytest.mark.parametrize("kind", REAL)
def test_every_form_is_recognised_as_text_and_in_json(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"text": f"so:\n{REAL[kind]}"}))
    pl.DataFrame({"text": [None, "b", f"so: {REAL[kind]}"]}).write_parquet(tmp_path / "a.parquet")
    assert list(leaks_in("a.json", tmp_path / "a.json")) == [Leak("a.json", "line 1", kind)]
    assert list(leaks_in("a.parquet", tmp_path / "a.parquet")) == [Leak("a.parquet", "row 3", kind)]


def test_what_only_resembles_a_key_passes(tmp_path: Path) -> None:
    lines = (
        "sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "OPENAI_API_KEY=sk-your-api-key-goes-here-0123",
        "https://example.org/sk-learn-for-beginners-part-1-introduction",
        "a task-4fXq9LmZ2vR7tKbW8sYcD3nH in a risk-assessment",
        "hf_hub_download hf_model_name_that_is_very_long_indeed",
        "AKIAIOSFODNN7EXAMPLE",
        "-----BEGIN PRIVATE KEY-----\n(your key)",
    )
    (tmp_path / "a.md").write_text("\n".join(lines))
    assert list(leaks_in("a.md", tmp_path / "a.md")) == []


def test_the_keys_of_this_process_may_not_appear_whatever_their_form(
    hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLM_API_KEY", "plain-words-as-a-key")
    folder = write(tmp_path / "export", release() | {"a.jsonl": b'{"x": "plain-words-as-a-key"}\n'})
    with pytest.raises(DataError, match=r"a\.jsonl line 1: the value of LLM_API_KEY") as caught:
        publish(folder)
    assert "plain-words" not in str(caught.value)


def test_many_hits_are_cut_short(hub: LocalHub, tmp_path: Path) -> None:
    folder = write(tmp_path / "export", release() | {"a.txt": f"{KEY}\n".encode() * 50})
    with pytest.raises(DataError, match="line 5: an API key and more"):
        publish(folder)


def test_a_broken_parquet_file_is_a_sentence(hub: LocalHub, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read as parquet"):
        publish(write(tmp_path / "export", release() | {"data/a.parquet": b"PAR1 not"}))


SCRIPT = """
import json, sys
from pathlib import Path
from pipeline.hub_release import Wishes, publish_folder
for dry_run in (True, False, False):
    done = publish_folder(Path(sys.argv[1]), "alice/tasks", Wishes(dry_run=dry_run))
    print(done.sentence(), json.dumps(done.as_json()), repr(done))
"""


def test_the_token_goes_to_the_hub_and_nowhere_else(tmp_path: Path) -> None:
    folder, home = write(tmp_path / "export", release()), tmp_path / "home"
    with local_hub() as hub:
        hub.tokens[TOKEN] = ("alice", True)
        hub.faults.append(Fault(r"POST .*/commit/", 503))
        mine = {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
        kept = {key: os.environ[key] for key in ("PATH", "LANG") if key in os.environ}
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(folder)],
            env=kept | mine | {"HOME": str(home), "NO_PROXY": "127.0.0.1,localhost"},
            capture_output=True,
            text=True,
            cwd=ROOT,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        api = [asked for asked in hub.asked if asked.host.startswith("127.0.0.1")]
        storage = [asked for asked in hub.asked if asked.host.startswith("localhost")]
        assert {asked.token for asked in api} == {TOKEN}
        assert [asked.token for asked in storage] == [None]
        assert held(dataset(hub)) == released(folder)
    assert "it/s" not in done.stderr
    assert TOKEN not in done.stdout + done.stderr
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in files if TOKEN.encode() in path.read_bytes()]


GGUF = b"GGUF\x03\0\0\0" + bytes(range(256)) * 8


def test_a_model_is_fetched_once_and_then_read_from_the_cache(
    hub: LocalHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.make("models", "org/small", {"q4/small.gguf": Blob(GGUF, lfs=True), "config.json": Blob(b"{}")})
    path = fetch_model("hf://org/small/q4/small.gguf")
    assert path.read_bytes() == GGUF
    assert path.is_relative_to(tmp_path)
    assert fetch_model(f"hf://org/small@{hub.repos['models', 'org/small'].commits[-1].oid}/q4/small.gguf") == path
    assert len(hub.lines("GET /storage/")) == 1
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetch_model("hf://org/small/q4/small.gguf") == path


@pytest.mark.parametrize(
    "spec", ["org/small/a.gguf", "hf://small.gguf", "hf://org/small", "hf://datasets/org/small/a.gguf", "hf://"]
)
def test_a_malformed_model_address_is_a_sentence(hub: LocalHub, spec: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"{spec}: not a model's file")) as caught:
        fetch_model(spec)
    assert "hf://owner/repo/file.gguf" in str(caught.value.hint)
    assert hub.asked == []


def test_a_model_that_cannot_be_fetched_is_a_sentence(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.make("models", "org/small", {"q4/small.gguf": Blob(GGUF, lfs=True)})
    with pytest.raises(UsageError, match=r"has no file 'q8\.gguf'") as caught:
        fetch_model("hf://org/small/q8.gguf")
    assert caught.value.hint == "it has q4/small.gguf"
    with pytest.raises(UsageError, match="the Hub has no model org/big"):
        fetch_model("hf://org/big/a.gguf")
    with pytest.raises(UsageError, match="the Hub has no model org/small"):
        fetch_model("hf://org/small@nosuch/q4/small.gguf")
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(UsageError, match="shows no model org/big to somebody without a token"):
        fetch_model("hf://org/big/a.gguf")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(SeedmillError, match="HF_HUB_OFFLINE is set"):
        fetch_model("hf://org/small/q4/small.gguf")


def test_ids_and_sizes_are_git_s_and_the_hub_s(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"hello\n")
    assert git_oid(tmp_path / "a") == "ce013625030ba8dba906f756967f9e9ca394464a"
    sizes = {0: "0 B", 999: "999 B", 1000: "1.0 kB", 999_499: "999.5 kB", 999_999: "1.0 MB", 25_600_000: "25.6 MB"}
    assert {count: size_text(count) for count in sizes} == sizes
