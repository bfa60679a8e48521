"""The whole path on the fake provider: books, provenance, the same bytes everywhere, and what people read of it."""

import fcntl
import json
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from pipeline.llm.fake.provider import FakeProvider
from pipeline.llm.ledger import read_calls
from pipeline.record import Record, from_row
from tests.runs import RECIPES, ROOT, environment, made_bytes, seedmill

RECIPE = RECIPES / "whole.yaml"
KEY = "sk-whole-test-4711"


@pytest.fixture(scope="module")
def provider() -> Iterator[FakeProvider]:
    with FakeProvider(own_process=True) as running:
        yield running


def env_of(provider: FakeProvider) -> dict[str, str]:
    return environment(LLM_BASE_URL=provider.url, LLM_MODEL="fake", LLM_API_KEY=KEY)


def run(provider: FakeProvider, outputs: Path, *options: object) -> dict:
    done = seedmill("run", RECIPE, "--outputs", outputs, "--json", *options, env=env_of(provider))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def outputs(provider: FakeProvider, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("outputs")
    run(provider, folder, "--engine", "local")
    return folder


def rows(folder: Path, kind: str) -> list[dict]:
    return pl.read_parquet(folder / f"{kind}-*.parquet").to_dicts()


def folders(outputs: Path) -> list[Path]:
    return sorted((outputs / "whole").glob("[0-9][0-9]-*"))


def test_books_balance_and_no_id_is_lost(outputs: Path) -> None:
    before: set[str] = set()
    assert len(folders(outputs)) == 10
    for folder in folders(outputs):
        manifest = json.loads((folder / "manifest.json").read_text())
        kept, dropped = rows(folder, "kept"), rows(folder, "drops")
        assert manifest["in"] + manifest["derived"] == manifest["kept"] + manifest["dropped"], folder.name
        assert (len(kept), len(dropped)) == (manifest["kept"], manifest["dropped"])
        ids = [row["id"] for row in (*kept, *dropped)]
        assert len(set(ids)) == len(ids), folder.name
        assert before <= set(ids), folder.name
        assert len(set(ids) - before) == manifest["derived"], folder.name
        before = {row["id"] for row in kept}


def test_every_final_text_is_in_the_replies_of_its_calls(outputs: Path) -> None:
    read = read_calls(outputs / "ledger")
    final = [from_row(row) for row in rows(folders(outputs)[-1], "kept")]
    assert final
    for record in final:
        calls = [read(key) for key in record.calls]
        assert record.calls, record.id
        assert all(calls), record.id
        said = "\n".join(json.dumps(call["reply"], ensure_ascii=False) for call in calls if call)
        ending = json.dumps(record.output.strip().split("\n")[-1][-40:], ensure_ascii=False)[1:-1]
        assert ending in said, (record.id, ending)
        assert origin(record)


def origin(record: Record) -> bool:
    return bool(record.model and record.method and record.parents and record.scores)


def test_a_second_run_asks_nothing(provider: FakeProvider, outputs: Path) -> None:
    before = provider.bill()["requests"], made_bytes(outputs / "whole")
    run(provider, outputs, "--engine", "local", "--run", "again")
    assert provider.bill()["requests"] == before[0]
    assert made_bytes(outputs / "again") == before[1]


def test_the_same_bytes_on_ray_and_at_every_block_size(provider: FakeProvider, outputs: Path, tmp_path: Path) -> None:
    expected = made_bytes(outputs / "whole")
    run(provider, outputs, "--engine", "local", "--run", "block-1", "--block-size", 1)
    assert made_bytes(outputs / "block-1") == expected
    run(provider, tmp_path, "--engine", "ray", "--block-size", 7)
    assert made_bytes(tmp_path / "whole") == expected


def test_raising_the_target_pays_only_for_the_new(provider: FakeProvider, outputs: Path) -> None:
    small = run(provider, outputs, "--engine", "local", "--run", "s", "--to", "self-instruct")
    larger = run(
        provider,
        outputs,
        "--engine",
        "local",
        "--run",
        "l",
        "--to",
        "self-instruct",
        "--set",
        "self-instruct.target=20",
    )
    usage = larger["entries"][1]["usage"]
    assert usage["reused"] >= small["entries"][1]["usage"]["calls"]
    assert 0 < usage["new"] < usage["calls"]


def test_the_key_is_nowhere(outputs: Path) -> None:
    for path in outputs.rglob("*"):
        if path.is_file():
            assert KEY.encode() not in path.read_bytes(), path


def test_explain_tells_the_whole_history(outputs: Path) -> None:
    final = rows(folders(outputs)[-1], "kept")[0]
    done = seedmill("explain", "whole", final["id"][:12], "--outputs", outputs)
    assert done.returncode == 0, done.stderr
    for part in ("made from", "self-instruct", "prune: kept", "call 1 of", "asked:", "replied (ok):"):
        assert part in done.stdout
    dropped = rows(folders(outputs)[-1], "drops")[0]
    told = json.loads(seedmill("explain", "whole", dropped["id"], "--outputs", outputs, "--json").stdout)
    assert told["entries"][-1]["reason"] == "below-top-share"
    assert told["entries"][-1]["detail"]


def test_show_prints_rows_and_drops(outputs: Path) -> None:
    kept = seedmill("show", "whole", "-n", 2, "--outputs", outputs)
    assert kept.stdout.startswith("prune: ")
    assert kept.stdout.count("\nid ") == 2
    drops = json.loads(
        seedmill("show", "whole", "self-instruct", "--reason", "seed", "--json", "--outputs", outputs).stdout
    )
    assert {item["reason"] for item in drops} == {"seed"}
    wrong = seedmill("show", "whole", "self-instruct", "--reason", "nothing", "--outputs", outputs)
    assert wrong.returncode == 2
    assert "hint: its reasons: " in wrong.stderr


def test_preview_shows_prompts_and_live_replies(provider: FakeProvider, tmp_path: Path) -> None:
    before = provider.bill()["requests"]
    shown = seedmill("preview", RECIPE, "self-instruct", "-n", 2, "--outputs", tmp_path, env=env_of(provider))
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.count("=== request") == 2
    assert provider.bill()["requests"] == before
    live = seedmill("preview", RECIPE, "self-instruct", "-n", 1, "--live", "--outputs", tmp_path, env=env_of(provider))
    assert "--- reply" in live.stdout
    later = seedmill("preview", RECIPE, "score", "--outputs", tmp_path, env=env_of(provider))
    assert later.returncode == 2
    assert "is not finished" in later.stderr


def test_a_wrong_key_stops_at_the_first_call_with_one_sentence(tmp_path: Path) -> None:
    with FakeProvider({"valid_keys": ["right"]}, own_process=True) as strict:
        done = seedmill("run", RECIPE, "--outputs", tmp_path, "--engine", "local", env=env_of(strict))
    assert done.returncode == 1
    assert "LLM_API_KEY" in done.stderr
    assert KEY not in done.stderr
    assert "Traceback" not in done.stderr


def test_rows_without_a_reply_leave_the_stage_incomplete_and_only_they_are_asked_again(tmp_path: Path) -> None:
    faulty = {"faults": [{"kind": "status", "status": 503, "share": 0.05, "per": "body"}]}
    options = ("--outputs", tmp_path, "--engine", "local", "--set", "models.default.deadline=1.5")
    with FakeProvider(faulty, own_process=True) as provider:
        first = seedmill("run", RECIPE, *options, env=env_of(provider))
    assert first.returncode == 1
    assert "Traceback" not in first.stderr
    assert "run the same command again" in first.stderr
    with FakeProvider(own_process=True) as provider:
        second = seedmill("run", RECIPE, *options, env=env_of(provider))
        assert second.returncode == 0, second.stderr


def test_settings_may_stand_in_a_dotenv_file(provider: FakeProvider, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"LLM_BASE_URL={provider.url}\nLLM_MODEL=fake\nLLM_API_KEY={KEY}\n")
    done = seedmill(
        "preview", RECIPE, "self-instruct", "-n", 1, "--live", cwd=tmp_path, env=environment(PYTHONPATH=str(ROOT))
    )
    assert done.returncode == 0, done.stderr
    assert "--- reply" in done.stdout


def test_a_users_prompt_file_is_used_and_named_in_the_provenance(provider: FakeProvider, tmp_path: Path) -> None:
    prompt = tmp_path / "mine.txt"
    prompt.write_text("[user]\nRead this and answer in one sentence: {{question}}\n")
    recipe = tmp_path / "r.yaml"
    (tmp_path / "tasks.jsonl").write_text('{"instruction": "Why is the sea salty?", "output": ""}\n')
    recipe.write_text(
        "entries:\n  - {stage: read, data: [tasks.jsonl], format: alpaca}\n  - {stage: answer, prompt: mine.txt}\n"
    )
    done = seedmill("run", recipe, "--outputs", tmp_path / "o", "--engine", "local", "--quiet", env=env_of(provider))
    assert done.returncode == 0, done.stderr
    (made,) = rows(tmp_path / "o" / "r" / "01-answer", "kept")
    assert made["prompt"].startswith("mine.txt@")
    call = read_calls(tmp_path / "o" / "ledger")(made["calls"][0])
    assert call
    assert call["request"]["messages"][0]["content"].startswith("Read this and answer in one sentence: Why")
    prompt.write_text("[user]\nAnswer: {{qestion}}\n")
    wrong = seedmill("run", recipe, "--outputs", tmp_path / "o", "--engine", "local", env=env_of(provider))
    assert wrong.returncode == 2
    assert "unknown placeholder '{{qestion}}'" in wrong.stderr


def test_a_missing_entry_is_wrong_usage(tmp_path: Path) -> None:
    done = seedmill("run", ROOT / "recipes" / "demo.yaml", "--to", "translate", "--outputs", tmp_path)
    assert done.returncode == 2
    assert "there is no entry 'translate'" in done.stderr
    assert "self-instruct" in done.stderr


def test_two_processes_never_write_one_run(provider: FakeProvider, outputs: Path) -> None:
    with (outputs / "whole" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = seedmill("run", RECIPE, "--outputs", outputs, "--engine", "local", env=env_of(provider))
    assert done.returncode == 1
    assert "is being made by another process" in done.stderr
