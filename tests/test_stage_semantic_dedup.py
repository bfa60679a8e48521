"""The semantic-dedup stage: same meaning found and told, every row accounted for, the same bytes however it is cut."""

import json
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipeline.errors import SeedmillError, UsageError
from pipeline.llm.caller import Caller
from pipeline.llm.client import Client
from pipeline.llm.fake.provider import FakeProvider
from pipeline.llm.flight import Pauses
from pipeline.llm.models import ModelSpec
from pipeline.llm.request import Profile, Reply, Request
from pipeline.record import Message, Record
from pipeline.similar.encoder import Encoder
from pipeline.stage import Outcome, merged
from pipeline.stages import embedding
from pipeline.stages.semantic_dedup import SemanticDedup
from tests.doubles import FunctionLLM, kept_ids, lend, reasons, stream_of
from tests.runs import environment, made_bytes, seedmill

TASK = SemanticDedup(model="embedder", threshold=0.9, fields="instruction")


def pair(question: str, answer: str = "An answer.", **fields: Any) -> Record:
    turns = (Message(role="user", content=question), Message(role="assistant", content=answer))
    return Record(**{"id": question, "messages": turns, **fields})


def about(text: str) -> bytes:
    """A vector of the words of a text that it shares with a few topics."""
    topics = ("cat", "dog", "sea", "tax", "car", "猫")
    numbers = [float(text.lower().count(topic)) for topic in topics]
    return struct.pack("<6f", *numbers) if any(numbers) else struct.pack("<6f", *([0.5] * 6))


def embedder(request: Request) -> Reply:
    return Reply(key="", text="", model="e", vectors=tuple(about(text) for text in request.embed))


def run(stage: SemanticDedup, records: list[Record], llm: FunctionLLM, folder: Path, block: int = 1000) -> Outcome:
    return merged(list(stage.run(stream_of(folder, records, block), lend(llm))))


def details(outcome: Outcome) -> dict[str, dict[str, Any]]:
    return {id: json.loads(detail) for id, detail in outcome.drops.select("id", "detail").iter_rows()}


RECORDS = [
    pair("Tell me about a cat."),
    pair("Tell me about a dog."),
    pair("Say something of the cat, please."),
    pair("Tell  me about a ｃat."),
    pair("How deep is the sea?"),
    pair("Cat and dog?"),
]


def test_what_means_the_same_goes_and_the_evidence_is_as_for_dedup(tmp_path: Path) -> None:
    outcome = run(TASK, RECORDS, FunctionLLM(embedder), tmp_path)
    assert kept_ids([outcome]) == [r.id for r in (RECORDS[0], RECORDS[1], RECORDS[4], RECORDS[5])]
    assert reasons([outcome]) == {"exact-duplicate": 1, "semantic-duplicate": 1}
    assert details(outcome) == {
        RECORDS[2].id: {"partner": RECORDS[0].id, "similarity": 1.0},
        RECORDS[3].id: {"partner": RECORDS[0].id, "similarity": 1.0},
    }
    lower = run(
        SemanticDedup(model="embedder", threshold=0.7, fields="instruction"), RECORDS, FunctionLLM(embedder), tmp_path
    )
    assert details(lower)[RECORDS[5].id] == {"partner": RECORDS[0].id, "similarity": 0.707107}


def test_who_is_kept_and_how_groups_form(tmp_path: Path) -> None:
    scored = [pair(f"cat {n}", scores={"accuracy": float(n)}) for n in range(3)]
    best = SemanticDedup(model="embedder", fields="instruction", keep="highest_score", score="accuracy")
    assert kept_ids([run(best, scored, FunctionLLM(embedder), tmp_path)]) == ["cat 2"]
    longest = SemanticDedup(model="embedder", fields="instruction", keep="longest")
    assert kept_ids([run(longest, [pair("cat"), pair("cat cat")], FunctionLLM(embedder), tmp_path)]) == ["cat cat"]
    chain = [pair("cat cat"), pair("cat dog"), pair("dog dog")]
    star = SemanticDedup(model="embedder", threshold=0.7, fields="instruction")
    assert kept_ids([run(star, chain, FunctionLLM(embedder), tmp_path)]) == ["cat cat", "dog dog"]
    tied = SemanticDedup(model="embedder", threshold=0.7, fields="instruction", cluster="components")
    outcome = run(tied, chain, FunctionLLM(embedder), tmp_path)
    assert kept_ids([outcome]) == ["cat cat"]
    assert details(outcome)["dog dog"] == {
        "partner": "cat cat",
        "similarity": 0.0,
        "neighbour": "cat dog",
        "neighbour_similarity": 0.707107,
    }


def test_a_translation_is_no_duplicate_unless_told(tmp_path: Path) -> None:
    records = [pair("cat", language="en"), pair("cat cat", language="zh-Hant"), pair("cat cat cat", language="zh")]
    outcome = run(TASK, records, FunctionLLM(embedder), tmp_path)
    assert kept_ids([outcome]) == ["cat", "cat cat"]
    every = SemanticDedup(model="embedder", fields="instruction", within="all")
    assert kept_ids([run(every, records, FunctionLLM(embedder), tmp_path)]) == ["cat"]


def test_what_is_asked_for(tmp_path: Path) -> None:
    llm = FunctionLLM(embedder, Profile(role="embedder", model="e", texts=7))
    stage = SemanticDedup(model="embedder", prefix="query: ", dimensions=6, fields="output", texts_per_call=3)
    records = [pair(f"q{n}", f"cat {n}") for n in range(20)] + [pair("q", "")]
    outcome = run(stage, records, llm, tmp_path)
    sent = [text for request in llm.asked for text in request.embed]
    assert sent == [f"query: cat {n}" for n in range(20)], "an empty text is compared with nothing"
    assert "q" in kept_ids([outcome])
    assert max(len(request.embed) for request in llm.asked) <= 3
    assert all(request.params == {"dimensions": 6} and request.role == "embedder" for request in llm.asked)


def test_two_tasks_over_one_input_both_stay(tmp_path: Path) -> None:
    story = "the cat and the cat and the cat. " * 20
    records = [
        pair("Translate this for the dog.", input=story),
        pair("Tax this, sea by sea.", input=story),
        pair("Translate it for my dog!", input=story + "Cat."),
        pair("Translate this for the dog. " + story),
    ]
    llm = FunctionLLM(embedder)
    outcome = run(TASK, records, llm, tmp_path)
    assert kept_ids([outcome]) == [records[0].id, records[1].id]
    assert details(outcome)[records[2].id]["partner"] == records[0].id
    assert sum(len(request.embed) for request in llm.asked) == 3 + 3, (
        "the last one equals the first, and needs no vector"
    )
    whole = run(replace(TASK, outside_input=0.0), records, FunctionLLM(embedder), tmp_path)
    assert kept_ids([whole]) == [records[0].id]


def test_a_long_text_is_embedded_in_pieces(tmp_path: Path) -> None:
    llm = FunctionLLM(embedder)
    stage = SemanticDedup(model="embedder", fields="instruction", piece=100, threshold=0.9)
    text = "The cat. " * 20 + "The dog. " * 20
    run(stage, [pair(text), pair("cat dog")], llm, tmp_path)
    assert max(len(t) for request in llm.asked for t in request.embed) <= 100
    found = run(stage, [pair("cat dog"), pair(text)], llm, tmp_path)
    assert details(found)[text]["similarity"] > 0.99


def failing(request: Request) -> Reply:
    if any("bad" in text for text in request.embed):
        return Reply(key="", text="too long", model="e", outcome="refused")
    if any("rude" in text for text in request.embed):
        return Reply(key="", text="no", model="e", outcome="content_filter")
    vectors = tuple(b"" if "void" in text else about(text) for text in request.embed)
    return Reply(key="", text="", model="e", vectors=vectors)


def test_what_has_no_vector_is_set_aside_with_what_equals_it(tmp_path: Path) -> None:
    records = [pair("cat 1"), pair("bad"), pair(" bad "), pair("rude"), pair("void"), pair("dog"), pair("cat 2")]
    outcome = run(TASK, records, FunctionLLM(failing), tmp_path)
    assert kept_ids([outcome]) == ["cat 1", "dog"]
    assert reasons([outcome]) == {
        "embedding-refused": 2,
        "embedding-content-filter": 1,
        "no-vector": 1,
        "semantic-duplicate": 1,
    }
    assert details(outcome)["bad"] == {"why": "too long", "model": "e"}
    spared = run(
        SemanticDedup(model="embedder", fields="instruction", uncompared="keep"),
        records,
        FunctionLLM(failing),
        tmp_path,
    )
    assert kept_ids([spared]) == ["cat 1", "bad", "rude", "void", "dog"]
    assert spared.notes == {"not_compared": 3}


def test_an_outage_leaves_nothing_decided(tmp_path: Path) -> None:
    def answer(request: Request) -> Reply:
        if "sea" in repr(request.embed):
            return Reply(key="", text="HTTP 503", outcome="unavailable")
        return embedder(request)

    stage = SemanticDedup(model="embedder", fields="instruction", texts_per_call=1)
    outcome = run(stage, RECORDS, FunctionLLM(answer), tmp_path)
    assert outcome.unavailable == ("How deep is the sea?",)
    assert outcome.kept.is_empty()
    assert outcome.drops.is_empty()


def test_a_server_that_changes_its_model_is_an_error(tmp_path: Path) -> None:
    def answer(request: Request) -> Reply:
        return Reply(key="", text="", vectors=tuple(bytes([1]) * 4 * (2 + ("sea" in t)) for t in request.embed))

    with pytest.raises(SeedmillError, match="of 2 and of 3 dimensions"):
        run(SemanticDedup(model="e", texts_per_call=1), RECORDS, FunctionLLM(answer), tmp_path)


def test_settings_that_make_no_sense() -> None:
    for settings, words in (
        ({}, "needs one of model, encoder and hub; given: none"),
        ({"model": "e", "hub": "a/b"}, "given: model, hub"),
        ({"hub": "a/b", "dimensions": 5}, "'dimensions'"),
        ({"model": "e", "keep": "highest_score"}, "need each other"),
        ({"model": "e", "sources": ("a",)}, "need each other"),
    ):
        with pytest.raises(UsageError, match=words):
            SemanticDedup(**settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def provider() -> Iterator[FakeProvider]:
    with FakeProvider({}) as one:
        yield one


WORDS = [
    *("river", "garden", "market", "window", "letter", "bridge", "music"),
    *("harbour", "winter", "kitchen", "mountain", "paper", "village"),
]


def sentences(count: int) -> list[Record]:
    dice = np.random.default_rng(4)
    made = []
    for n in range(count):
        words = [WORDS[k] for k in dice.integers(len(WORDS), size=9)]
        made.append(pair(f"Write of {' '.join(words)} ({n})", language="en" if n % 3 else "de"))
        if n % 4 == 0:
            dice.shuffle(words)
            made.append(pair(f"Write of {' '.join(words)} ({n})", language="en" if n % 3 else "de"))
    return [Record(id=f"{n:05d}", messages=r.messages, language=r.language) for n, r in enumerate(made)]


def dropped_by(provider: FakeProvider, stage: SemanticDedup, folder: Path, ledger: str, block: int) -> pl.DataFrame:
    specs = {"default": ModelSpec(role="default", model="m", base_url=provider.url)}
    with Caller(specs, folder / ledger, "run", pauses=Pauses(nobody=0.5)) as caller:
        tools = lend(Client(caller, caller.specs, "e"))  # type: ignore[arg-type]
        return merged(list(stage.run(stream_of(folder, sentences(300), block), tools))).drops


@pytest.mark.parametrize("clusters", [0, 6])
def test_blocks_files_and_the_ledger_change_nothing(
    provider: FakeProvider, tmp_path: Path, clusters: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = SemanticDedup(model="default", threshold=0.93, clusters=clusters)
    provider.reset()
    first = dropped_by(provider, stage, tmp_path, "a", 1000)
    asked = provider.bill()["requests"]
    assert 60 < len(first) < 200
    assert asked < 60
    monkeypatch.setattr(embedding, "_IN_MEMORY", 0)
    assert dropped_by(provider, stage, tmp_path, "a", 13).equals(first)
    assert provider.bill()["requests"] == asked, "vectors come from the ledger"


def test_a_few_rows_more_pay_for_a_few_calls_more(provider: FakeProvider, tmp_path: Path) -> None:
    specs = {"default": ModelSpec(role="default", model="m", base_url=provider.url)}
    with Caller(specs, tmp_path, "run", pauses=Pauses(nobody=0.5)) as caller:
        tools = lend(Client(caller, caller.specs, "e"))  # type: ignore[arg-type]
        stage = SemanticDedup(model="default")
        list(stage.run(stream_of(tmp_path, sentences(300)), tools))
        before = caller.usage().sent
        list(stage.run(stream_of(tmp_path, [pair("One more."), *sentences(300)[5:]]), tools))
        assert caller.usage().sent - before <= 4 < before / 4


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model2vec model of our own making: a few words, each with a direction; like words with like ones."""
    model2vec = pytest.importorskip("model2vec")
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = ["[UNK]", "cat", "kitten", "dog", "sea", "the", "sees"]
    vectors = np.array([[0, 0, 0], [1, 0, 0], [0.98, 0.05, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0.01], [0.01, 0, 0.01]])
    tokenizer = Tokenizer(models.WordLevel({word: at for at, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    folder = tmp_path_factory.mktemp("model")
    model2vec.StaticModel(vectors.astype(np.float32), tokenizer).save_pretrained(str(folder))
    return folder


def test_a_local_encoder_needs_no_server(model: Path, tmp_path: Path) -> None:
    stage = SemanticDedup(encoder=str(model), fields="instruction", threshold=0.95)
    records = [pair("the cat"), pair("the dog"), pair("the kitten"), pair("sea"), pair("完全不认识")]
    outcome = run(stage, records, FunctionLLM(lambda request: "never"), tmp_path)
    assert details(outcome)["the kitten"]["partner"] == "the cat"
    assert reasons([outcome]) == {"semantic-duplicate": 1, "no-vector": 1}


def test_an_encoders_vector_is_of_the_text_alone(model: Path) -> None:
    texts = [" ".join(WORDS[k % 5 :: 2]) + " cat dog the sea" * (k % 7) for k in range(3000)]
    encoder = Encoder(str(model), None)
    together = dict(encoder.vectors(enumerate(texts)))
    for at in (0, 1023, 1024, 2999):
        ((_, alone),) = encoder.vectors([(at, texts[at])])
        assert alone.tobytes() == together[at].tobytes()
    long = "cat " * 2000 + "dog " * 2000
    ((_, whole),) = encoder.vectors([(0, long)])
    assert whole[0] == pytest.approx(whole[1], abs=1e-3), "nothing is cut off"


def test_a_model_that_is_none_is_a_sentence(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"no")
    with pytest.raises(UsageError, match="cannot be loaded as a model2vec model"):
        Encoder(str(tmp_path), None)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UsageError, match="nobody/nothing: cannot be loaded"):
        Encoder(None, "nobody/nothing")
    monkeypatch.setitem(__import__("sys").modules, "model2vec", None)
    with pytest.raises(UsageError, match="extra 'semantic'"):
        Encoder(str(model), None)


RECIPE = """\
name: meaning
models:
  embedder: {base_url: "%s", model: e, price: {input: 0.02, output: 0}}
entries:
  - stage: read
    data: [rows.jsonl]
  - stage: semantic-dedup
    model: embedder
    threshold: 0.9
"""


def test_as_a_user_runs_it(provider: FakeProvider, tmp_path: Path) -> None:
    rows = [{"instruction": r.instruction, "output": "Yes."} for r in sentences(40)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = tmp_path / "meaning.yaml"
    recipe.write_text(RECIPE % provider.url)

    def told(*arguments: object) -> str:
        done = seedmill(*arguments, env=environment(LLM_MODEL="e", LLM_BASE_URL=provider.url))
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = ("--outputs", tmp_path / "a")
    assert "[text 1 to embeddings]" in told("preview", recipe, "semantic-dedup", *where)
    assert "a vector, 64 numbers" in told("preview", recipe, "semantic-dedup", "-n", 1, "--live", *where)
    assert "keeps the share" in told("estimate", recipe, "--rows", 5, *where)
    assert "semantic-duplicate" in told("run", recipe, "--budget", 1, "--engine", "local", *where)
    assert "prompt tokens" in told("ledger", "stats", *where)
    listed = json.loads(told("ledger", "ls", "--json", *where))
    key = (listed["calls"] if isinstance(listed, dict) else listed)[0]["key"]
    assert "(344 characters)" in told("ledger", "show", key, *where), "of base64; --json prints it whole"
    told("run", recipe, "--engine", "local", "--block-size", 7, "--outputs", tmp_path / "b")
    assert made_bytes(tmp_path / "a" / "meaning") == made_bytes(tmp_path / "b" / "meaning")


def test_a_local_encoder_as_a_user_runs_it(model: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(
        "".join(f'{{"instruction": "the {w}", "output": "the sea"}}\n' for w in ("cat", "kitten"))
    )
    recipe = tmp_path / "local.yaml"
    recipe.write_text("""\
entries:
  - {stage: read, data: [rows.jsonl]}
  - {stage: semantic-dedup, encoder: model, fields: instruction}
""")
    missing = seedmill("run", recipe, "--outputs", tmp_path / "out", "--engine", "local")
    assert missing.returncode == 1
    assert "is not there yet, or not whole" in missing.stderr
    assert "Traceback" not in missing.stderr
    (tmp_path / "model").symlink_to(model)
    done = seedmill("run", recipe, "--outputs", tmp_path / "out", "--engine", "local")
    assert "dropped 1 semantic-duplicate" in done.stdout, done.stderr
