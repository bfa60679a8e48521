"""The fake provider's scripts: what they may say, and how mistakes are told."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.llm.fake.check import schema
from pipeline.llm.fake.faults import choose
from pipeline.llm.fake.grammar import grammar
from pipeline.llm.fake.lexicon import lexicon
from pipeline.llm.fake.question import Question
from pipeline.llm.fake.replies import KINDS
from pipeline.llm.fake.script import load_script, parse_script


def rule(**reply: object) -> dict[str, object]:
    return {"rules": [{"reply": reply}]}


def fault(**params: object) -> dict[str, object]:
    return {"faults": [{"share": 0.1, **params}]}


MISTAKES = [
    ({"fauts": []}, "unknown key 'fauts'", "did you mean 'faults'?"),
    (fault(kind="status", status=429, retry_afer=1), "unknown key 'retry_afer' in faults[0]", "'retry_after'"),
    (fault(kind="hung", seconds=1), "faults[0].kind cannot be 'hung'", "did you mean 'hang'?"),
    (fault(kind="hang"), "faults[0] lacks the key 'seconds'", None),
    (fault(kind="reset", share=1.5), "faults[0].share must be at most 1, not 1.5", None),
    (fault(kind="reset", per="call"), "faults[0].per cannot be 'call'", "valid: attempt, body"),
    (fault(kind="status", status=200), "faults[0].status must be at least 400", None),
    (fault(kind="reset", when={"txt": "a"}), "unknown key 'txt' in faults[0].when", "did you mean 'text'?"),
    (fault(kind="reset", when={"text": "("}), "faults[0].when.text is no regular expression", "quotes"),
    ({"faults": [{"kind": "reset", "share": 0.6}] * 2}, "drawn per attempt add up to 1.2", None),
    (rule(kind="taskss"), "unknown kind 'taskss' in rules[0].reply", "did you mean 'tasks'?"),
    (rule(kind="tasks", cont=3), "unknown key 'cont' in rules[0].reply", "did you mean 'count'?"),
    (rule(kind="tasks", shares={"near_kopy": 0.1}), "unknown key 'near_kopy' in rules[0].reply.shares", "'near_copy'"),
    (rule(kind="answer", shares={"empty": 0.6, "refusal": 0.6}), "the shares in rules[0].reply add up to 1.2", None),
    (rule(kind="answer", thinking={"word": 3}), "unknown key 'word' in rules[0].reply.thinking", "'words'"),
    (rule(kind="answer", take="no group"), "rules[0].reply.take has no group", "parentheses"),
    (rule(kind="tasks", count_in="10"), "rules[0].reply.count_in has no group", "parentheses"),
    (rule(kind="template", template="{{texd}}"), "no slot '{{texd}}'", "{{text}}"),
    (rule(kind="translate", to="xx"), "no words of 'xx'", "zh"),
    (rule(kind="score", low=5), "'low' must be less than 'high'", None),
    (rule(kind="label"), "rules[0].reply lacks the key 'labels'", None),
    (rule(kind="label", labels=[True]), "rules[0].reply.labels[0] must be text, not true", "quotes"),
    ({"rules": [{"replay": {}}]}, "unknown key 'replay' in rules[0]", "did you mean 'reply'?"),
    ({"latency": {"kind": "gaussian", "seconds": 1}}, "latency.kind cannot be 'gaussian'", "lognormal"),
    ({"capacity": "many"}, "capacity must be a whole number, not 'many'", None),
    ({"tokens_per_second": 0}, "tokens_per_second must be more than 0, not 0", None),
    ({"rate_limit": {"request": 5}}, "unknown key 'request' in rate_limit", "did you mean 'requests'?"),
    ({"price": {"default": {"input": 1}}}, "price.default lacks the key 'output'", None),
    ({"moderation": [{"category": "spam", "text": "a"}]}, "moderation[0].category cannot be 'spam'", "violence"),
    ({"batch": {"second": 1}}, "unknown key 'second' in batch", "did you mean 'seconds'?"),
    ([1], "a script is a mapping of settings, not [1]", "rules"),
]


@pytest.mark.parametrize(("script", "message", "hint"), MISTAKES, ids=[m[1][:40] for m in MISTAKES])
def test_a_mistake_is_a_sentence_that_names_its_place(script: object, message: str, hint: str | None) -> None:
    with pytest.raises(UsageError) as caught:
        parse_script(script, "faults.yaml")
    assert caught.value.message.startswith("faults.yaml: ")
    assert message in caught.value.message
    assert (hint or "") in (caught.value.hint or "")


def test_every_name_in_the_schema_is_refused_when_misspelt() -> None:
    kinds, minimal = schema()["$defs"]["fault_kinds"], {"status": 500, "seconds": 1}
    for kind, own in kinds.items():
        needed = {name: minimal[name] for name in own.get("required", ())}
        parse_script(fault(kind=kind, **needed))
        for name in own["properties"]:
            with pytest.raises(UsageError, match=f"unknown key '{name}x'"):
                parse_script(fault(kind=kind, **needed, **{f"{name}x": 1}))
    for name in schema()["properties"]:
        with pytest.raises(UsageError, match=f"unknown key '{name}x'"):
            parse_script({f"{name}x": 1})


def test_schema_and_code_know_the_same_kinds() -> None:
    assert set(schema()["$defs"]["reply_kinds"]) == set(KINDS)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"rules: [", "is no YAML"), (b"\xff\xfe\x00", "cannot be read"), (b"- 1", "a mapping of settings")],
)
def test_an_unreadable_file_is_a_sentence(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "faults.yaml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=message):
        load_script(path)
    with pytest.raises(UsageError, match=r"absent\.yaml: cannot be read: no such file or directory\nhint: name"):
        load_script(tmp_path / "absent.yaml")


def test_the_command_tells_mistakes_and_exits_2(tmp_path: Path) -> None:
    (tmp_path / "faults.yaml").write_text("rate_limt: {}")
    command = [sys.executable, "-m", "pipeline.llm.fake", "--script", str(tmp_path / "faults.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert "unknown key 'rate_limt'" in done.stderr
    assert "did you mean 'rate_limit'?" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_rules_a_script_has_the_rehearsals() -> None:
    assert [r.name for r in parse_script({"faults": []}).rules] == [r.name for r in load_script().rules]
    assert load_script().rules
    assert parse_script({"rules": []}).rules == ()


def ask(text: str, seed: int = 0) -> Question:
    return Question("chat", {"model": "m", "messages": [{"role": "user", "content": text}]}, seed)


def test_faults_come_at_their_shares_and_by_attempt_or_body() -> None:
    script = parse_script(
        {
            "faults": [
                {"kind": "status", "status": 500, "share": 0.2},
                {"kind": "reset", "share": 0.1, "attempts": 1},
                {"kind": "content_filter", "share": 0.1},
                {"kind": "status", "status": 400, "share": 0.5, "per": "body", "when": {"text": "^bad"}},
            ]
        }
    )
    drawn = [[choose(script.faults, ask(f"q{i}"), n) for n in (1, 2, 3)] for i in range(4000)]
    share = [[sum(f is not None and f.kind == kind for f in row) / 4000 for row in zip(*drawn, strict=True)]
             for kind in ("status", "reset", "content_filter")]  # fmt: skip
    assert share[0] == pytest.approx([0.2] * 3, abs=0.02)
    assert share[1] == pytest.approx([0.1, 0, 0], abs=0.015)
    assert share[2] == pytest.approx([0.07, 0.08, 0.08], abs=0.015)
    for row in drawn:
        outcomes = {f.kind for f in row if f is not None and f.per == "body"}
        assert not outcomes or all(f is None or f.kind in {"status", "reset", *outcomes} for f in row)
    filtered = [row for row in drawn if any(f is not None and f.kind == "content_filter" for f in row)]
    assert all(f is not None for row in filtered for f in row), "an outcome stays whenever no accident comes before it"
    bad = [choose(script.faults, ask(f"bad {i}"), 1) for i in range(500)]
    assert sum(f is not None and f.params.get("status") == 400 for f in bad) / 500 == pytest.approx(0.35, abs=0.07)


def test_another_seed_is_another_storm_with_the_same_keys() -> None:
    faults = parse_script(fault(kind="reset", share=0.5)).faults
    one, two = [[choose(faults, ask(f"q{i}", seed), 1) is None for i in range(64)] for seed in (0, 1)]
    assert one != two
    assert ask("q", 0).key == ask("q", 1).key


def test_the_words_are_complete() -> None:
    for tongue in ("en", "zh"):
        rules = grammar(tongue).rules
        follows = {follow for alternatives in rules.values() for parts in alternatives for _, follow in parts if follow}
        assert follows <= {*rules, "subject"}
    assert set(grammar("en").rules) - set(grammar("zh").rules) <= {"purpose", "goods2", "duration_noun"}
    assert all(len(words) == len(set(words)) >= 80 for words in lexicon().values())
