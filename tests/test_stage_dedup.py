"""Dedup: what it drops, whom it keeps, the evidence it leaves, and the same answer however the rows are cut."""

import functools
import json
import os
import pickle
import random
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline.errors import UsageError
from pipeline.record import Message, Record, digest
from pipeline.similar.tokens import characters
from pipeline.stage import Outcome
from pipeline.stages.dedup import Dedup
from pipeline.stages.dedup_sketch import sketch
from tests.doubles import kept_ids, lend, reasons, stream_of

LONG = "Describe in a few sentences how a steam engine turns the heat of burning coal into the motion of a wheel"
REPLY = (
    "Water boils, the steam pushes a piston, a rod and a crank turn its strokes into rotation, and a wheel keeps it so"
)


def record(id: str, instruction: str, output: str = "", input: str | None = None, **more: Any) -> Record:
    messages = (Message(role="user", content=instruction), Message(role="assistant", content=output))
    return Record(id=id, messages=messages, input=input, **more)


def run(folder: Path, records: Sequence[Record], stage: Dedup, block: int = 1000) -> list[Outcome]:
    return list(stage.run(stream_of(folder, records, block), lend()))


def evidence(outcomes: Sequence[Outcome]) -> dict[str, dict[str, Any]]:
    drops = pl.concat([o.drops for o in outcomes])
    return {row["id"]: {"reason": row["reason"], **json.loads(row["detail"])} for row in drops.iter_rows(named=True)}


@functools.cache
def shingle_set(text: str, size: int) -> set[tuple[str, ...]]:
    tokens = characters(text)
    return {tuple(tokens[i : i + size]) for i in range(max(len(tokens) - size + 1, 1))}


def jaccard(a: str, b: str, size: int = 5) -> float:
    x, y = shingle_set(a, size), shingle_set(b, size)
    return len(x & y) / len(x | y)


def corpus(count: int = 100) -> list[Record]:
    """Answers of random words; a third repeats an earlier one, exactly or with one to twelve words replaced."""
    rng = random.Random(5)
    texts: list[str] = []
    for _ in range(count):
        kind = rng.random()
        if texts and kind < 0.1:
            texts.append(rng.choice(texts).replace(" ", "  ", 3))
        elif texts and kind < 0.4:
            words = rng.choice(texts).split()
            for place in rng.sample(range(len(words)), rng.randint(1, 12)):
                words[place] = f"new{rng.randint(0, 10**6)}"
            texts.append(" ".join(words))
        else:
            texts.append(" ".join(f"w{rng.randint(0, 5000)}" for _ in range(rng.randint(40, 90))))
    return [record(digest(i), "", text, scores={"accuracy": float(i % 4)}) for i, text in enumerate(texts)]


SETTINGS = [
    Dedup(fields="output"),
    Dedup(fields="output", keep="longest", cluster="components"),
    Dedup(fields="output", keep="highest_score", score="accuracy", method="minhash"),
    Dedup(fields="output", method="exact"),
]


@pytest.mark.parametrize("stage", SETTINGS, ids=lambda s: f"{s.method}-{s.keep}-{s.cluster}")
def test_any_block_size_gives_the_same_rows_and_the_books_balance(tmp_path: Path, stage: Dedup) -> None:
    records = corpus()
    by_block = [run(tmp_path, records, stage, block) for block in (1, 7, 1000)]
    kept, drops = (
        [pl.concat([getattr(o, part) for o in outcomes]) for outcomes in by_block] for part in ("kept", "drops")
    )
    assert all(frame.equals(kept[0]) for frame in kept)
    assert all(frame.equals(drops[0]) for frame in drops)
    assert [len(outcomes) for outcomes in by_block] == [100, 15, 1], "an outcome for each slice"
    assert len(kept[0]) + len(drops[0]) == len(records)
    assert set(kept[0]["id"]) | set(drops[0]["id"]) == {r.id for r in records}
    order = {r.id: i for i, r in enumerate(records)}
    assert kept[0]["id"].to_list() == sorted(kept[0]["id"], key=order.__getitem__)
    assert len(drops[0]) > 5


@pytest.mark.parametrize("keep", ["first", "longest", "highest_score"])
def test_star_equals_a_walk_over_all_pairs(tmp_path: Path, keep: Any) -> None:
    records = corpus()
    stage = Dedup(fields="output", num_perm=256, keep=keep, score="accuracy" if keep == "highest_score" else None)
    rank = {
        "first": lambda r: 0,
        "longest": lambda r: -len(r.output),
        "highest_score": lambda r: -r.scores["accuracy"],
    }[keep]
    kept: list[Record] = []
    dropped: dict[str, tuple[str, float]] = {}
    equal: dict[str, Record] = {}
    for one in sorted(records, key=rank):
        first = equal.setdefault(" ".join(one.output.split()), one)
        scores = [jaccard(one.output, other.output) for other in kept]
        best = max(scores, default=0.0)
        if first.id in dropped:
            dropped[one.id] = dropped[first.id]
        elif best >= 0.7:
            dropped[one.id] = kept[scores.index(best)].id, best
        else:
            kept.append(one)
    found = evidence(run(tmp_path, records, stage))
    assert {id: (d["partner"], d["similarity"]) for id, d in found.items()} == dropped
    assert {d["reason"] for d in found.values()} == {"exact-duplicate", "near-duplicate"}


def test_the_evidence_is_true_and_its_partner_is_kept(tmp_path: Path) -> None:
    records = {r.id: r for r in corpus()}
    for stage in SETTINGS:
        outcomes = run(tmp_path, list(records.values()), stage, 7)
        kept = set(kept_ids(outcomes))
        for id, detail in evidence(outcomes).items():
            assert detail["partner"] in kept
            assert detail["similarity"] == jaccard(records[id].output, records[detail["partner"]].output)
            if detail["reason"] == "exact-duplicate":
                assert records[id].output.split() == records[detail["partner"]].output.split()
            else:
                other = detail.get("neighbour", detail["partner"])
                assert jaccard(records[id].output, records[other].output) >= 0.7
                assert ("neighbour" in detail) == ("neighbour_similarity" in detail)


def test_equal_records_differ_in_no_letter_but_in_width_and_space(tmp_path: Path) -> None:
    records = [
        record("a", LONG, REPLY),
        record("b", LONG + "\n", REPLY.replace(" ", "  ")),
        record("c", LONG.replace("steam", "ｓｔｅａｍ"), REPLY),
        record("d", LONG.upper(), REPLY),
    ]
    assert evidence(run(tmp_path, records, Dedup(method="exact"))) == {
        "b": {"reason": "exact-duplicate", "partner": "a", "similarity": 1.0},
        "c": {"reason": "exact-duplicate", "partner": "a", "similarity": 1.0},
    }
    both = evidence(run(tmp_path, records, Dedup()))
    assert both["d"] == {"reason": "near-duplicate", "partner": "a", "similarity": 1.0}


def test_who_survives(tmp_path: Path) -> None:
    records = [
        record("first", LONG, REPLY, scores={"accuracy": 1.0}),
        record("longest", LONG, REPLY + " and steady", scores={"other": 9.0}),
        record("best", LONG, REPLY + " so", scores={"accuracy": 4.0}),
    ]
    assert kept_ids(run(tmp_path, records, Dedup())) == ["first"]
    assert kept_ids(run(tmp_path, records, Dedup(keep="longest"))) == ["longest"]
    best = run(tmp_path, records, Dedup(keep="highest_score", score="accuracy"))
    assert kept_ids(best) == ["best"]
    assert {d["partner"] for d in evidence(best).values()} == {"best"}


def test_the_best_source_survives(tmp_path: Path) -> None:
    sources = ["scraped", "model", "people", None, "people"]
    records = [record(f"r{k}", LONG, REPLY + " so" * k, source=source) for k, source in enumerate(sources)]
    stage = Dedup(keep="best_source", sources=("people", "model"))
    found = evidence(run(tmp_path, records, stage))
    assert {d["partner"] for d in found.values()} == {"r2"}
    assert kept_ids(run(tmp_path, records[:2] + records[3:4], stage)) == ["r1"], "the unnamed come last"
    assert kept_ids(run(tmp_path, [records[0], records[3]], stage)) == ["r0"], "the first of equals"


def test_two_tasks_over_one_long_input_both_stay(tmp_path: Path) -> None:
    rng = random.Random(6)
    book = " ".join(f"w{rng.randint(0, 9000)}" for _ in range(200))
    edited = book.replace(book.split()[7], "edited")
    records = [
        record("names", "List the people named in this text.", "Anna, Boris and Chen", book),
        record("sum", "Summarise the text in one line.", "A long walk ends at the sea.", book),
        record("again", "List the people who are named in this text.", "Anna, Boris and Chen", edited),
        record("other", "List the people named in this text.", "Dana and Emil", book[: len(book) // 2]),
    ]
    assert sorted(evidence(run(tmp_path, records, Dedup()))) == ["again"]
    assert sorted(evidence(run(tmp_path, records, Dedup(fields="pair")))) == ["again"]
    assert sorted(evidence(run(tmp_path, records, Dedup(outside_input=0.0)))) == ["again", "sum"]
    assert sorted(evidence(run(tmp_path, records, Dedup(outside_input=1.0)))) == []


def test_traditional_and_simplified_are_one_only_when_asked(tmp_path: Path) -> None:
    records = [
        record("hans", "", "机器学习让计算机从数据里学会规律，而不必由人写出每一条规则。"),
        record("hant", "", "機器學習讓計算機從數據裏學會規律，而不必由人寫出每一條規則。"),
    ]
    assert evidence(run(tmp_path, records, Dedup())) == {}
    outcomes = run(tmp_path, records, Dedup(variants="same"))
    assert evidence(outcomes) == {"hant": {"reason": "near-duplicate", "partner": "hans", "similarity": 1.0}}
    assert outcomes[0].drops["messages"][0][1]["content"].startswith("機器學習"), "only compared, not changed"


def test_what_equals_a_dropped_record_names_the_kept_one(tmp_path: Path) -> None:
    records = [record("a", LONG, REPLY), record("b", LONG, REPLY + " so"), record("c", LONG, REPLY + " so")]
    found = evidence(run(tmp_path, records, Dedup()))
    assert found["b"] == found["c"]
    assert found["c"]["partner"] == "a"
    assert found["c"]["reason"] == "near-duplicate"


def test_fields(tmp_path: Path) -> None:
    other = "Compose a letter to a landlord who has not repaired the heating for three weeks although it is winter"
    records = [
        record("a", LONG, REPLY),
        record("b", LONG, other),
        record("c", other, REPLY),
        record("d", LONG, REPLY, other),
    ]
    dropped = {
        fields: sorted(evidence(run(tmp_path, records, Dedup(fields=fields))))
        for fields in ("conversation", "pair", "instruction", "output")
    }
    assert dropped == {"conversation": [], "pair": [], "instruction": ["b"], "output": ["c", "d"]}


def test_an_empty_text_repeats_nothing(tmp_path: Path) -> None:
    records = [record("a", LONG), record("b", "What is the capital of France?"), record("c", "?!"), record("d", "?!")]
    assert kept_ids(run(tmp_path, records, Dedup(fields="output"))) == ["a", "b", "c", "d"]
    assert evidence(run(tmp_path, records, Dedup(fields="instruction"))) == {
        "d": {"reason": "exact-duplicate", "partner": "c", "similarity": 1.0}
    }
    assert kept_ids(run(tmp_path, [Record(id="x"), Record(id="y")], Dedup())) == ["x", "y"]


def test_a_conversation_is_more_than_its_ends(tmp_path: Path) -> None:
    def talk(id: str, middle: str, roles: str = "uau", **more: Any) -> Record:
        names = {"u": "user", "a": "assistant"}
        turns = [Message(role=names[r], content=c) for r, c in zip(roles, (LONG, middle, "Thanks"), strict=True)]
        return Record(id=id, messages=(*turns, Message(role="assistant", content="You are welcome")), **more)

    middles = [
        REPLY,
        "Read about it in any library, there are many fine books on the history of machines and their makers",
    ]
    records = [talk("a", middles[0]), talk("b", middles[1]), talk("c", middles[0], "uuu")]
    assert sorted(evidence(run(tmp_path, records, Dedup(fields="pair")))) == ["b", "c"]
    assert evidence(run(tmp_path, records, Dedup(method="exact"))) == {}, "another text, or spoken by another role"
    chosen = [
        Record(id=i, messages=records[0].messages[:1], chosen=(Message(role="assistant", content=m),))
        for i, m in zip("de", middles, strict=True)
    ]
    assert kept_ids(run(tmp_path, chosen, Dedup())) == ["d", "e"], "another preferred answer"
    called = [
        Record(
            id=i,
            messages=(
                Message(role="user", content="Call"),
                Message(role="assistant", content="", tool_calls=json.dumps(t)),
            ),
        )
        for i, t in (("f", [{"name": "weather"}]), ("g", [{"name": "stocks"}]))
    ]
    assert kept_ids(run(tmp_path, called, Dedup())) == ["f", "g"], "another tool call"


def test_chinese_is_shingled_by_character(tmp_path: Path) -> None:
    text = (
        "人工智能正在改变我们的生活方式，从智能手机里的语音助手到自动驾驶汽车，它的应用越来越广泛，也带来了新的挑战。"
    )
    records = [
        record("a", "", text),
        record("b", "", text.replace("越来越", "愈来愈")),
        record("c", "", "春天来了，花园里的花都开了。"),
    ]
    found = evidence(run(tmp_path, records, Dedup()))
    assert list(found) == ["b"]
    assert 0.7 < found["b"]["similarity"] == jaccard(text, text.replace("越来越", "愈来愈")) < 1


def test_nothing_in_nothing_out(tmp_path: Path) -> None:
    assert list(Dedup().run(stream_of(tmp_path, []), lend())) == []


def test_the_function_sent_to_workers_can_be_pickled(tmp_path: Path) -> None:
    stage = Dedup()
    sent = pickle.loads(pickle.dumps(partial(sketch, aspect=stage._aspect())))
    back = pickle.loads(pickle.dumps(sent(stream_of(tmp_path, corpus(5)).slices[0].load())))
    assert back.ids.to_list() == [r.id for r in corpus(5)]
    assert len(back.shingles) == 5


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"threshold": 0.0}, "threshold of 0.0"),
        ({"threshold": 1.0}, "threshold of 1.0"),
        ({"num_perm": 8}, "num_perm"),
        ({"ngram": 0}, "ngram"),
        ({"keep": "highest_score"}, "need each other"),
        ({"score": "accuracy"}, "need each other"),
        ({"keep": "best_source"}, "need each other"),
        ({"sources": ("a",)}, "need each other"),
        ({"outside_input": 1.5}, "outside_input"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Dedup(**settings)


def test_recall_on_edited_real_records(tmp_path: Path) -> None:
    """Copies of real answers with 2 to 8 % of the words replaced: whatever is 0.75 similar or more is found."""
    folder = os.environ.get("REAL_DATA")
    if not folder:
        pytest.skip("REAL_DATA is not set: alpaca_data.json is read from it")
    rng = random.Random(9)
    texts = [
        row["output"] for row in json.loads((Path(folder) / "alpaca_data.json").read_text()) if len(row["output"]) > 300
    ][:600]
    copies = []
    for text in texts:
        words = text.split()
        for place in rng.sample(range(len(words)), max(1, round(len(words) * rng.uniform(0.005, 0.04)))):
            words[place] = f"edited{rng.randint(0, 10**6)}"
        copies.append(" ".join(words))
    records = [record(f"o{i}", "", text) for i, text in enumerate(texts)]
    records += [record(f"c{i}", "", text) for i, text in enumerate(copies)]
    found = evidence(run(tmp_path, records, Dedup(fields="output")))
    true = {f"c{i}" for i, (a, b) in enumerate(zip(texts, copies, strict=True)) if jaccard(a, b) >= 0.75}
    assert len(true) > 200
    assert len(true & set(found)) >= 0.98 * len(true)
    assert all(d["similarity"] >= 0.7 for d in found.values())
    assert set(reasons(run(tmp_path, records, Dedup(fields="output")))) <= {"exact-duplicate", "near-duplicate"}
