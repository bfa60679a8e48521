"""The files that `seedmill check --glue` writes, and the check that a recipe asks for after its export."""

import ast
import json
import subprocess
from pathlib import Path

import pytest
import yaml

from pipeline.errors import UsageError
from pipeline.export.glue import dataset_info
from pipeline.trainers.checking import Verdict, check_files, cut_at, trainers_named
from pipeline.trainers.described import entry_of
from pipeline.trainers.glue import write_glue
from pipeline.trainers.survey import survey_of
from tests.runs import ROOT, seedmill
from tests.trainer_cases import CASES, PAIR, TALK, TOOL_TALK, ask, chat, gpt, write_case

PYTHON = ROOT / ".venv-trainers" / "bin" / "python"


def verdicts(*paths: Path, trainers: str = "all") -> list[Verdict]:
    found = check_files([str(path) for path in paths], trainers_named(trainers.split(",")), cut_at(None, None))
    return [item for item in found if isinstance(item, Verdict)]


def write(path: Path, *rows: dict[str, object]) -> Path:
    path.write_text(json.dumps(list(rows), ensure_ascii=False), encoding="utf-8")
    return path


def test_dataset_info_lists_every_column_and_tag(tmp_path: Path) -> None:
    talk = write(tmp_path / "talk.json", TALK, *TOOL_TALK)
    plain = write(tmp_path / "plain rows.json", ask(), ask(system="Be brief", history=[["a", "b"]]))
    pairs = write(tmp_path / "pairs.json", gpt("a", **PAIR))
    write_glue(tmp_path / "glue", verdicts(talk, plain, pairs, trainers="llama-factory"))
    info = json.loads((tmp_path / "glue" / "dataset_info.json").read_text())
    assert info == {
        "talk": {
            "file_name": "../talk.json",
            "formatting": "sharegpt",
            "columns": {"messages": "conversations", "tools": "tools"},
            "tags": {
                **{"role_tag": "from", "content_tag": "value", "user_tag": "human", "assistant_tag": "gpt"},
                **{"observation_tag": "observation", "function_tag": "function_call", "system_tag": "system"},
            },
        },
        "plain_rows": {
            "file_name": "../plain rows.json",
            "formatting": "alpaca",
            "columns": {
                **{"prompt": "instruction", "query": "input", "response": "output"},
                **{"system": "system", "history": "history"},
            },
        },
        "pairs": {
            "file_name": "../pairs.json",
            "formatting": "sharegpt",
            "ranking": True,
            "columns": {"messages": "conversations", "chosen": "chosen", "rejected": "rejected"},
            "tags": info["talk"]["tags"],
        },
    }


def test_openai_rows_are_described_without_the_converter_that_changes_system_prompts(tmp_path: Path) -> None:
    path = write(tmp_path / "x.json", chat(("user", "a"), ("assistant", "b")))
    layout = survey_of(path).layout
    assert layout is not None
    entry = entry_of(layout, "x.json")
    assert entry is not None
    assert entry["formatting"] == "sharegpt"
    assert entry["tags"]["role_tag"] == "role"
    (told,) = verdicts(path, trainers="llama-factory")
    assert any("detailed thinking off" in note for note in told.notes)
    export = dataset_info("d", {"messages": ["messages"]}, "answers", tool_turns=False)["d_messages"]
    assert {**entry, "file_name": "messages.jsonl"} == export


def test_entries_of_others_stay(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.json", TALK)
    info = tmp_path / "dataset_info.json"
    info.write_text('{"theirs": {"file_name": "a.json"}, "mine": {}}')
    write_glue(tmp_path, verdicts(path, trainers="llama-factory"))
    assert {name: entry.get("file_name") for name, entry in json.loads(info.read_text()).items()} == {
        "theirs": "a.json",
        "mine": "mine.json",
    }
    info.write_text("[1]")
    with pytest.raises(UsageError, match="is no JSON object"):
        write_glue(tmp_path, verdicts(path, trainers="llama-factory"))


def test_yaml_names_columns_and_roles(tmp_path: Path) -> None:
    rows = {
        "talk": (TALK, *TOOL_TALK),
        "weighted": (chat(("user", "a"), {"role": "assistant", "content": "b", "weight": 1}),),
        "plain": (ask(),),
        "system": (ask(system="Be brief"),),
        "pairs": (gpt("a", **PAIR),),
        "completed": ({"prompt": "a", "completion": "b"},),
        "judged": ({"prompt": "a", "completion": "b", "label": True},),
        "texts": ({"text": "a"},),
    }
    paths = [write(tmp_path / f"{name}.json", *some) for name, some in rows.items()]
    write_glue(tmp_path, verdicts(*paths, trainers="axolotl"))
    made = {name: yaml.safe_load((tmp_path / f"axolotl-{name}.yaml").read_text()) for name in rows}
    first = made["talk"]["datasets"][0]
    assert (first["path"], first["ds_type"], first["type"]) == ("talk.json", "json", "chat_template")
    assert first["field_messages"] == "conversations"
    assert first["message_property_mappings"] == {"role": "from", "content": "value"}
    assert first["roles"]["assistant"] == ["gpt", "assistant", "function_call"]
    assert first["roles"]["tool"] == ["observation", "tool"]
    assert made["weighted"]["datasets"][0]["message_field_training"] == "weight"
    kinds = {name: (config.get("rl"), config["datasets"][0]["type"]) for name, config in made.items()}
    assert kinds["plain"] == (None, "alpaca")
    assert kinds["system"] == (None, "alpaca_w_system.load_instruct")
    assert kinds["pairs"] == ("dpo", "chat_template.default")
    assert kinds["judged"] == ("kto", "chatml.ultra")
    assert kinds["texts"] == (None, "completion")
    assert kinds["completed"][1]["field_instruction"] == "prompt"


def test_snippets_are_python_whatever_the_names(tmp_path: Path) -> None:
    odd = 'a"b\\ {x} 名.json'
    paths = [
        write(tmp_path / odd, TALK),
        write(tmp_path / "b.json", ask()),
        write(tmp_path / "c.json", gpt("a", **PAIR)),
    ]
    written = write_glue(tmp_path / "glue", verdicts(*paths, trainers="trl,unsloth"))
    assert sorted(path.name for path in written) == [
        *("trl_a_b_x.py", "trl_b.py", "trl_c.py", "unsloth_a_b_x.py", "unsloth_b.py"),
    ]
    for path in written:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert {"dataset", "trainer"} <= {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert "assistant_only_loss=True" in (tmp_path / "glue" / "trl_a_b_x.py").read_text()
    assert "DPOTrainer" in (tmp_path / "glue" / "trl_c.py").read_text()


@pytest.mark.skipif(not PYTHON.exists(), reason="the real trainers are not installed: make .venv-trainers/.ready")
def test_the_snippets_load_their_files(tmp_path: Path) -> None:
    paths = [
        write(tmp_path / "talk 名.json", TALK, *TOOL_TALK),
        write(tmp_path / "plain.json", ask(), ask(input="x", system="s", history=[["p", "q"]])),
        write(tmp_path / "pairs.json", gpt("a", **PAIR)),
    ]
    written = write_glue(tmp_path / "glue", verdicts(*paths, trainers="trl,unsloth"))
    code = (
        "import json, runpy, sys\n"
        "print(json.dumps({p.split('/')[-1]: list(runpy.run_path(p)['dataset']()) for p in sys.argv[1:]}))"
    )
    env = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf"), "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    command = [str(PYTHON), "-c", code, *map(str, written)]
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = json.loads(done.stdout.splitlines()[-1])
    said = {"role": "user", "content": "Say hi"}
    assert rows["trl_talk.py"][0]["messages"] == [said, {"role": "assistant", "content": "Hi"}]
    assert [turn["role"] for turn in rows["trl_talk.py"][1]["messages"]] == ["user", "assistant", "tool", "assistant"]
    assert rows["unsloth_talk.py"][0]["conversations"] == rows["trl_talk.py"][0]["messages"]
    assert [t["role"] for t in rows["trl_plain.py"][1]["prompt"]] == ["system", "user", "assistant", "user"]
    assert rows["trl_plain.py"][1]["prompt"][-1]["content"] == "Say hi\nx"
    assert rows["trl_pairs.py"][0] == {
        "prompt": [{"role": "user", "content": "a"}],
        "chosen": [{"role": "assistant", "content": "Hi"}],
        "rejected": [{"role": "assistant", "content": "No"}],
    }


def test_every_shape_gets_glue_or_none_without_failing(tmp_path: Path) -> None:
    for name, cases in CASES.items():
        for case in cases:
            (tmp_path / name / case.name).mkdir(parents=True)
            write_glue(tmp_path / name / case.name / "glue", verdicts(write_case(tmp_path / name / case.name, case)))


RECIPE = """\
entries:
  - {stage: read, data: [rows.json]}
export:
  formats: [sharegpt, messages]
  check: CHECK
"""


def test_a_recipe_checks_what_it_has_exported_and_fails_when_asked(tmp_path: Path) -> None:
    write(tmp_path / "rows.json", *[TALK] * 3, gpt("Say hi", ""))
    outcomes = {}
    for check in ("[llama-factory, trl]", "{for: [llama-factory], fail: true}", "{for: [openai]}"):
        (tmp_path / "r.yaml").write_text(RECIPE.replace("CHECK", check))
        done = seedmill("run", "r.yaml", "--engine", "local", cwd=tmp_path)
        outcomes[check] = (done.returncode, [li for li in done.stdout.splitlines() if li.startswith("check: ")])
    empty = "4 rows would be trained on wrongly: 1 empty answer"
    assert outcomes["[llama-factory, trl]"] == (
        0,
        [
            f"check: TRL 1.16.0: messages.jsonl: 1 of {empty}",
            f"check: LLaMA-Factory 0.9.5: sharegpt.json: 1 of {empty}",
        ],
    )
    assert outcomes["{for: [llama-factory], fail: true}"][0] == 1
    code, told = outcomes["{for: [openai]}"]
    assert code == 0
    assert "too few rows: holds 4 rows; at least 10 are asked for" in told[0]
    (tmp_path / "r.yaml").write_text(RECIPE.replace("CHECK", "[torchtune]"))
    refused = seedmill("run", "r.yaml", cwd=tmp_path)
    assert refused.returncode == 2
    assert "Traceback" not in refused.stderr
    as_json = seedmill("run", "r.yaml", "--set", "export.check=[trl]", "--engine", "local", "--json", cwd=tmp_path)
    assert json.loads(as_json.stdout)["export"]["check"]["verdicts"][0]["trainer"] == "trl"
