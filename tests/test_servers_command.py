"""`seedmill servers` and `preview` tell what a model's server is taken for; a recipe whose judge votes in JSON."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.__main__ import main
from pipeline.llm.fake.provider import FakeProvider
from pipeline.llm.servers import known_servers
from tests.runs import UNSET, environment, made_bytes, seedmill

RECIPE = """
name: votes
models:
  default: {model: m}
  judge: {base_url: "https://gateway.test/v1?token=x", server: deepseek, model: deepseek-v4-pro, api_key_env: JUDGE_KEY}
entries:
  - stage: read
    data: [rows.jsonl]
    language: en
  - {stage: score, reply: json, votes: 3}
  - {stage: prune, score: accuracy_agreement, threshold: 0.5}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [{"instruction": f"Name sea number {n}.", "input": "", "output": f"It is sea {n}."} for n in range(40)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    return tmp_path


def servers(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: object) -> str:
    for name in UNSET:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LLM_BASE_URL", "http://127.0.0.1:8000/v1")
    assert main(["servers", *map(str, words)]) == 0
    return capsys.readouterr().out


def test_all_known_servers_are_listed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    listed: list[dict[str, Any]] = json.loads(servers(capsys, monkeypatch, "--json"))
    assert [item["server"] for item in listed] == [server.name for server in known_servers()]
    table = servers(capsys, monkeypatch).splitlines()
    assert len(table) == len(listed) + 1
    assert "port 8000" in table[-1]


def test_a_recipes_models_are_listed_with_what_they_are_taken_for(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    default, judge = json.loads(servers(capsys, monkeypatch, folder / "recipe.yaml", "--json"))
    assert (default["server"], default["samples"], default["json"]) == ("vLLM", 128, "json_schema, json_object")
    assert (judge["server"], judge["samples"], judge["json"]) == ("DeepSeek", 1, "json_object")
    assert (judge["at"], judge["key"]) == ("https://gateway.test/v1", "JUDGE_KEY")
    assert "seed" in judge["left out"]
    assert "token=x" not in servers(capsys, monkeypatch, folder / "recipe.yaml")


@pytest.mark.parametrize("server", ["vLLM", "LM Studio"])
def test_a_judge_in_json_with_votes_from_a_recipe(folder: Path, server: str) -> None:
    with FakeProvider(own_process=True) as provider:
        env = environment(LLM_BASE_URL=provider.url, LLM_MODEL="m")
        text = (folder / "recipe.yaml").read_text(encoding="utf-8")
        named = text.replace(
            "default: {model: m}", f"default: {{model: m, base_url: '{provider.url}', server: {server}}}"
        )
        (folder / "recipe.yaml").write_text(named, encoding="utf-8")
        bytes_of = []
        for outputs in ("a", "b"):
            options = ("--outputs", folder / outputs, "--engine", "local", "--quiet")
            done = seedmill("run", folder / "recipe.yaml", *options, env=env)
            assert done.returncode == 0, done.stderr
            bytes_of.append(made_bytes(folder / outputs / "votes"))
            shown = seedmill("show", "votes", "score", "--json", "-n", 50, "--outputs", folder / outputs, env=env)
            pruned = seedmill("show", "votes", "prune", "--drops", "--json", "--outputs", folder / outputs, env=env)
            assert json.loads(pruned.stdout), "some are disputed"
            kept = [item["record"] for item in json.loads(shown.stdout)]
        assert bytes_of[0] == bytes_of[1]
        assert len(kept) > 30
        assert all({"accuracy", "accuracy_agreement"} <= record["scores"].keys() for record in kept)
        assert len({record["scores"]["accuracy"] for record in kept}) > 5
        assert all(len(record["calls"]) >= (1 if server == "vLLM" else 3) for record in kept)
        preview = seedmill("preview", folder / "recipe.yaml", "score", "-n", 1, "--outputs", folder / "b", env=env)
        assert f"=== request 1 to 'default', m on {server} (" in preview.stdout
        assert ("samples 3" in preview.stdout) == (server == "vLLM")
