"""The books of every stage in the table balance, whatever the records and whatever the model says."""

import random
import struct
import tempfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import DataError
from pipeline.llm.request import Moderation, Reply, Request
from pipeline.record import Message, Record, digest
from pipeline.stage import Outcome, merged
from pipeline.stages import STAGES
from tests.doubles import FunctionLLM, lend, run_rows, stream_of
from tests.quality_rows import model_in
from tests.runs import ROOT

CONFIGURED: dict[str, list[dict[str, Any]]] = {
    "read": [],
    "self-instruct": [{"target": 4, "max_calls": 6, "patience": 3}, {"target": 3, "mode": "two-step", "max_calls": 4}],
    "evol-instruct": [{}, {"judge_reply": "json"}, {"rounds": 2, "keep": "last"}, {"judge": None, "language": "zh"}],
    "translate": [{"to": "zh"}, {"to": "de", "mode": "regenerate", "keep": "both"}],
    "answer": [{}, {"overwrite": True, "continue_cut": True}],
    "fix": [{}],
    "filter": [{}, {"preset": "alpaca"}, {"custom": ({"reason": "long", "sql": "length(text) > 40"},)}],
    "dedup": [{}, {"method": "exact"}, {"cluster": "components", "keep": "longest"}],
    "semantic-dedup": [{"model": "default", "threshold": 0.6}, {"model": "default", "cluster": "components"}],
    "moderate": [{}, {"by": "endpoint", "threshold": 0.5, "piece": 100}, {"action": "tag", "side": "answer"}],
    "decontaminate": [{"against": (str(ROOT / "seeds" / f"{language}.jsonl"),)} for language in ("en", "zh")],
    "split": [{}, {"max_tokens": 8}, {"max_tokens": 4, "keep_long_pairs": False}],
    "trim": [{}, {"leading": False, "empty": False}],
    "overused": [{"min_count": 2, "max_share": 0.2}, {"min_count": 2, "max_share": 0.1, "action": "drop"}],
    "score": [{}, {"votes": 3, "verdict": "median"}, {"reply": "json", "votes": 2}, {"sample": 2}],
    "quality": [{}, {"threshold": "model"}, {"threshold": 1.0, "score": "clarity"}],
    "prune": [
        {"score": "accuracy", "threshold": 2.5},
        {"score": "accuracy", "top_share": 0.5},
        {"score": "accuracy", "top_k": 2, "unscored": "keep"},
    ],
}

PIECES = """Explain|rain|gently.|请解释|as an AI|sorry|```code```|5|https://x.y|![img](http://z)|<noinput>|4.5|Yes|No|###
|1.|Instruction:|Input:|Output:|指令：|输出：|{name}|

"""
words = st.sampled_from(PIECES.split("|"))
text = st.lists(words, max_size=12).map(" ".join)


@st.composite
def records(draw: st.DrawFn) -> list[Record]:
    made = []
    for n in range(draw(st.integers(0, 6))):
        turns = [Message(role="user", content=draw(text))]
        if draw(st.booleans()):
            turns.append(Message(role="assistant", content=draw(text)))
        if draw(st.integers(0, 5)) == 0:
            turns = [Message(role="system", content=draw(text)), *turns, Message(role="user", content=draw(text))]
        scores = {"accuracy": draw(st.sampled_from([0.0, 2.5, 4.5]))} if draw(st.booleans()) else {}
        language = draw(st.sampled_from(["en", "zh", None]))
        value = draw(st.none() | text)
        made.append(Record(id=digest(n), messages=tuple(turns), input=value, scores=scores, language=language))
    return made


SEED = Record(
    id="seed",
    messages=(
        Message(role="user", content="Name three seas."),
        Message(role="assistant", content="Red, Black, White."),
    ),
)


def model(seed: int) -> FunctionLLM:
    """Says anything: pieces of the question, markup, numbers, nothing; now and then it is cut off or refuses."""

    def answer(request: Request) -> Reply:
        dice = random.Random(f"{seed} {request}")
        texts = (*request.embed, *request.moderate)
        if texts:
            # Without a vector semantic-dedup decides nothing: the stage is incomplete and keeps no books.
            outcome = dice.choices(["ok", "refused", "unavailable"], [20, 1, bool(request.moderate)])[0]
            vectors = tuple(struct.pack("<3f", *(dice.randint(-1, 1) for _ in range(3))) for _ in request.embed)
            harm = [dice.choice([0.0, 0.4, 0.9]) for _ in request.moderate]
            found = tuple(
                Moderation(flagged=score > 0.5, categories={"violence": score > 0.5}, scores={"violence": score})
                for score in harm
            )
            if outcome != "ok":
                return Reply(key="", text="no", outcome=outcome, model="double")
            whole = tuple(v if any(struct.unpack("<3f", v)) else b"" for v in vectors)
            return Reply(key="", text="", model="double", vectors=whole, moderations=found)
        asked = request.prompt or request.messages[-1].content
        pieces = [
            "4.5",
            "Yes",
            "",
            asked[:200],
            "Sorry, no.",
            "Equal",
            "一段中文回答。",
            "Write an ode to salt. It is fine.",
        ]
        listed = "\n###\n".join(
            f"{k}. Instruction: Describe {dice.random()} of it\n{k}. Input:\n<noinput>\n{k}. Output: Fine."
            for k in range(4, 7)
        )
        parts = [dice.choice([*pieces, listed]) for _ in range(dice.randint(1, 3))]
        outcome = dice.choices(["ok", "length", "content_filter", "refused", "unavailable"], [20, 2, 1, 1, 1])[0]
        return Reply(key="", text="\n".join(parts), outcome=outcome, model="double")

    return FunctionLLM(answer)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Settings that name what must be made first."""
    return {"quality": {"classifier": str(model_in(tmp_path_factory.mktemp("books")))}}


def test_every_stage_is_configured() -> None:
    assert set(CONFIGURED) == set(STAGES)


@pytest.mark.parametrize(("name", "options"), [(n, o) for n, options in CONFIGURED.items() for o in options])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(items=records(), seed=st.integers(0, 1000))
def test_books_balance(
    made: dict[str, dict[str, Any]], name: str, options: dict[str, Any], items: list[Record], seed: int
) -> None:
    stage = STAGES[name](**options, **made.get(name, {}))
    items = [SEED, *items] if name == "self-instruct" else items  # without any seed it rightly refuses
    tools = lend(model(seed))
    with tempfile.TemporaryDirectory() as folder:
        if stage.scope == "rows":
            outcome = run_rows(stage, items, tools)
        else:
            outcome = merged(list(stage.run(stream_of(Path(folder), items, 2), tools)))
    assert balance(items, outcome) == 0
    before, after = {r.id for r in items}, [*outcome.kept["id"], *outcome.drops["id"]]
    assert len(set(after)) == len(after)
    assert before <= set(after) | set(outcome.unavailable)
    assert outcome.drops.filter(pl.col("reason").is_null()).is_empty()


def balance(items: list[Record], outcome: Outcome) -> int:
    """Rows that appeared from nowhere (positive) or vanished, where only unavailable rows may be absent."""
    surplus = outcome.kept.height + outcome.drops.height - len(items) - outcome.derived
    return surplus + len(set(outcome.unavailable)) if surplus < 0 else surplus


@pytest.mark.parametrize(
    "damage", ["", "[]", "{", '[{"instruction": 5}, {"instruction": "a b c", "output": "d"}', "x\n"]
)
def test_read_balances_over_damaged_files(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "rows.json"
    path.write_text(damage)
    stage = STAGES["read"](data=(str(path),))
    if damage in ("", "[]", "x\n"):
        with pytest.raises(DataError):
            list(stage.run(stream_of(tmp_path, [], 1), lend()))
        return
    outcome = merged(list(stage.run(stream_of(tmp_path, [], 1), lend())))
    assert outcome.derived == outcome.kept.height + outcome.drops.height
