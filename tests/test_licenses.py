"""Licences of records: what is known, what is combined, and what may not be stated over what."""

import re
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import licenses
from pipeline.licenses import CONDITIONS, combined, conditions, derived, of_model, of_source, parts, selected, unmet
from pipeline.record import Message, Record, records_of
from pipeline.stages.read import Read
from tests.doubles import FunctionLLM, lend, stream_of

names = st.sampled_from([None, "mit", "Apache 2.0", "CC BY-NC 4.0", "openai-terms", "house rules", "unknown"])


def test_every_fact_has_a_source_and_a_date_and_only_known_conditions() -> None:
    facts = licenses._facts()
    for entry in (*facts["licenses"], *facts["datasets"], *facts["models"]):
        assert entry["source"], entry
        assert re.match(r"\d{4}", str(entry["as_of"])), entry
    assert {word for entry in licenses.known().values() for word in entry["conditions"]} == set(CONDITIONS)
    for entry in facts["datasets"]:
        assert set(parts(entry["license"])) <= licenses.known().keys()
        # A file's name alone never grants anything.
        assert not entry.get("files") or any(conditions(p) - {"notice"} for p in parts(entry["license"]))
    assert all(set(entry["terms"]) <= licenses.known().keys() for entry in facts["models"])


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("CC BY-NC 4.0", "cc-by-nc-4.0"),
        ("cc_by_4.0", "cc-by-4.0"),
        ("CC-BY-SA-4.0 International", "cc-by-sa-4.0"),
        ("MIT License", "mit"),
        ("Apache-2.0 license", "apache-2.0"),
        ("mit OR gpl-3.0", "mit-or-gpl-3.0"),
    ],
)
def test_spellings_are_read_as_the_hub_spells_them(written: str, meant: str) -> None:
    assert parts(written) == (meant,)


@given(st.lists(names, min_size=1, max_size=5))
def test_what_is_combined_keeps_every_part_and_never_loses_an_unknown_one(found: list[str | None]) -> None:
    whole = combined(found)
    assert set(parts(whole)) == {part for one in found for part in parts(one)}
    assert combined(reversed(found)) == whole == combined([whole])


@given(names, names)
def test_a_licence_may_be_stated_over_itself_and_anything_over_the_unknown(
    stated: str | None, other: str | None
) -> None:
    whole = combined([stated, other])
    if whole is not None:
        assert unmet(whole, stated) == () == unmet(whole, other)
    assert unmet("mit", None) == ()


@pytest.mark.parametrize(
    ("stated", "row", "left"),
    [
        ("mit", "cc-by-nc-4.0", ("cc-by-nc-4.0",)),
        ("mit", "cc-by-4.0", ()),
        ("cc0-1.0", "mit", ("mit",)),
        ("cc-by-nc-4.0", "mit AND cc-by-4.0", ()),
        ("cc-by-4.0", "cc-by-sa-4.0", ("cc-by-sa-4.0",)),
        ("cc-by-sa-4.0", "cc-by-sa-3.0", ()),
        ("cc-by-sa-3.0", "cc-by-sa-4.0", ("cc-by-sa-4.0",)),
        ("cc-by-nc-nd-4.0", "cc-by-nd-4.0", ("cc-by-nd-4.0",)),
        ("cc-by-nc-4.0", "cc-by-nc-4.0 AND openai-terms", ("openai-terms",)),
        ("cc-by-nc-4.0 AND openai-terms", "cc-by-nc-4.0 AND openai-terms AND unknown", ()),
        ("mit", "house-rules", ("house-rules",)),
        ("house rules", "house-rules", ()),
    ],
)
def test_what_may_be_stated_over_what(stated: str, row: str, left: tuple[str, ...]) -> None:
    assert unmet(stated, row) == left


@pytest.mark.parametrize(
    ("model", "terms"),
    [
        ("gpt-4o-mini-2024-07-18", ("openai-terms",)),
        ("o3-mini", ("openai-terms",)),
        ("text-davinci-003", ("openai-terms",)),
        ("openai/gpt-oss-20b", ()),
        ("gpt-j-6b", ("unknown",)),
        ("Qwen/Qwen3-30B-A3B", ()),
        ("Qwen2.5-72B-Instruct", ("qwen-license",)),
        ("Qwen2.5-3B-Instruct", ("qwen-research-license",)),
        ("qwen2.5-7b-instruct", ()),
        ("qwen-max", ("unknown",)),
        ("meta-llama/Llama-3.1-8B-Instruct", ("llama3.1",)),
        ("Meta-Llama-3-8B-Instruct", ("llama3",)),
        ("deepseek-ai/DeepSeek-R1", ()),
        ("DeepSeek-R1-Distill-Llama-70B", ("llama3.3",)),
        ("DeepSeek-R1-Distill-Qwen-7B", ()),
        ("deepseek-chat", ("unknown",)),
        ("smollm2-135m-instruct", ()),
        ("my-finetune", ("unknown",)),
        (None, ("unknown",)),
    ],
)
def test_the_terms_of_a_model_are_known_or_said_to_be_unknown(model: str | None, terms: tuple[str, ...]) -> None:
    assert of_model(model) == terms


@given(st.lists(names, max_size=3), st.sampled_from(["gpt-4o", "smollm2-135m", "somebody", None]))
def test_a_derived_record_keeps_what_its_parents_and_its_model_ask_for(
    parents: list[str | None], model: str | None
) -> None:
    found = set(parts(derived(parents, model)))
    assert {part for one in parents for part in parts(one)} <= found
    assert set(of_model(model)) <= found


def read(folder: Path, text: str, name: str = "rows.jsonl", **settings: object) -> list[str | None]:
    (folder / name).write_text(text, encoding="utf-8")
    stage = Read(data=(str(folder / name),), **settings)  # type: ignore[arg-type]
    outcomes = stage.run(stream_of(folder, []), lend())
    return [record.license for outcome in outcomes for record in records_of(outcome.kept)]


def test_a_record_is_licensed_as_the_setting_its_row_and_its_source_say(tmp_path: Path) -> None:
    plain = '{"instruction": "a", "input": "", "output": "b"}\n'
    own = '{"instruction": "a", "output": "b", "license": "CC BY-NC 4.0"}\n'
    odd = '{"instruction": "a", "output": "b", "license": 7}\n'
    assert read(tmp_path, plain) == [None]
    assert read(tmp_path, plain, license="MIT") == ["mit"]
    assert read(tmp_path, own) == ["cc-by-nc-4.0"]
    assert read(tmp_path, own, license="mit") == ["cc-by-nc-4.0 AND mit"]
    assert read(tmp_path, odd) == [None]
    assert read(tmp_path, plain, source="tatsu-lab/alpaca") == ["cc-by-nc-4.0 AND openai-terms"]
    assert read(tmp_path, plain, name="alpaca_data.json") == ["cc-by-nc-4.0 AND openai-terms"]
    assert read(tmp_path, plain, name="gsm8k") == [None]
    assert of_source("openai/gsm8k") == "mit"


def test_a_made_record_carries_its_seeds_licences_and_its_models_terms(tmp_path: Path) -> None:
    from pipeline.stages.evol_instruct import EvolInstruct

    parent = Record(
        id="p",
        messages=(Message(role="user", content="Name a river in Germany."), Message(role="assistant", content="Elbe")),
        license="cc-by-nc-4.0",
    )
    from pipeline.llm.request import Reply

    def teacher(request: object) -> Reply:
        return Reply(key="", text="Name three rivers of northern Germany and say where each one ends.", model="gpt-4o")

    outcomes = EvolInstruct().run(stream_of(tmp_path, [parent]), lend(FunctionLLM(teacher)))
    made = [row for o in outcomes for frame in (o.kept, o.drops) for row in frame.iter_rows(named=True)]
    children = [row for row in made if row["parents"]]
    assert children
    assert {row["license"] for row in children} == {"cc-by-nc-4.0 AND openai-terms"}


def test_only_rows_all_of_whose_parts_are_wanted_are_selected() -> None:
    for found, wanted in product(("mit", "apache-2.0", "mit AND apache-2.0"), (("MIT", "Apache 2.0"),)):
        assert selected(found, wanted)
    assert not selected("mit AND openai-terms", ["mit"])
    assert not selected(None, ["mit"])
    assert selected(None, ["unknown"])


def test_the_recipe_may_state_the_terms_of_a_model_that_nobody_knows(tmp_path: Path) -> None:
    from pipeline.llm.request import Profile, Reply
    from pipeline.llm.roles import resolve_models
    from pipeline.stages.answer import Answer

    def teacher(request: object) -> Reply:
        return Reply(key="", text="The Elbe, the Weser and the Ems.", model="my-finetune")

    asked = Record(id="p", messages=(Message(role="user", content="Name three rivers."),), license="mit", language="en")

    def answered_under(terms: tuple[str, ...] | None) -> str:
        llm = FunctionLLM(teacher, Profile(role="default", model="my-finetune", terms=terms))
        (outcome,) = Answer().run(stream_of(tmp_path, [asked]), lend(llm))
        return str(outcome.kept["license"][0])

    assert answered_under(None) == "mit AND unknown"
    assert answered_under(()) == "mit"
    assert answered_under(("llama3.1",)) == "llama3.1 AND mit"
    settings = {"default": {"base_url": "http://127.0.0.1:1/v1", "model": "my-finetune", "terms": ["apache-2.0"]}}
    assert resolve_models(settings, {})["default"].profile.terms == ("apache-2.0",)
    # Another model of the environment does not take over what was said of the recipe's.
    assert resolve_models(settings, {"LLM_MODEL": "other"})["default"].profile.terms is None
