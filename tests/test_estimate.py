"""The estimate: a pilot on the fake provider against the whole run on it."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.llm.accounts import Sums, account, spending
from pipeline.llm.fake.provider import FakeProvider
from pipeline.llm.ledger import ledger_facts
from pipeline.projection import Estimate, crowding, of_rows, of_yield, quantile
from tests.runs import environment, seedmill

PRICE = {"input": 0.5, "cached_input": 0.1, "output": 2.0}

ROWS = """
name: rows
seed: SEED
models: {default: {concurrency: 16, price: {input: 0.5, cached_input: 0.1, output: 2.0}}}
entries:
  - {stage: read, seeds: [SEEDS], limit: 120}
  - {stage: evol-instruct, rounds: 2}
  - {stage: filter}
  - {stage: score}
  - {stage: prune, top_k: 40}
  - {stage: translate, to: zh}
"""

POOL = """
name: pool
seed: SEED
models: {default: {concurrency: 16, price: {input: 0.5, cached_input: 0.1, output: 2.0}}}
entries:
  - {stage: read, seeds: [SEEDS]}
  - {stage: self-instruct, target: 150, tasks_per_call: 4, window: 6, patience: 100}
  - {stage: dedup}
  - {stage: score}
"""


def recipe(text: str, seed: int, folder: Path) -> Path:
    seeds = Path(__file__).parent.parent / "seeds" / "en.jsonl"
    path = folder / "recipe.yaml"
    path.write_text(text.replace("SEEDS", str(seeds)).replace("SEED", str(seed)))
    return path


def estimated(path: Path, env: dict[str, str], outputs: Path, *more: object) -> dict[str, Any]:
    done = seedmill("estimate", path, "--json", "--outputs", outputs, *more, env=env)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def held_against(text: str, seed: int, tmp_path: Path) -> dict[str, bool]:
    """Estimate, run whole with a ledger of its own, and say of what the true value lies within the interval."""
    path = recipe(text, seed, tmp_path)
    script = {"seed": seed, "price": {"default": PRICE}, "cached_share": 0.3}
    with FakeProvider(script) as provider:
        env = environment(LLM_BASE_URL=provider.url, LLM_MODEL="fake", LLM_API_KEY="sk-estimate")
        found = estimated(path, env, tmp_path / "a")
        piloted = provider.bill()
        run = seedmill("run", path, "--engine", "local", "--quiet", "--outputs", tmp_path / "b", env=env)
        assert run.returncode == 0, run.stderr
        bill = provider.bill()
    name = path.read_text().split()[1]
    true = sum(spending(tmp_path / "b" / "ledger", name).values(), Sums())
    facts = {"calls": true.calls, "prompt_tokens": true.prompt_tokens, "completion_tokens": true.completion_tokens}
    within = {}
    for metric, value in {**facts, "cost": true.cost}.items():
        total = found["total"][metric]
        assert total["high"] < 2.5 * total["value"], "an interval that says nothing"
        within[metric] = total["low"] <= value <= total["high"]
    assert found["pilot"]["calls"] <= piloted["charged"] < 0.5 * true.calls
    assert bill["usd"] - piloted["usd"] == pytest.approx(true.cost)
    return within


@pytest.mark.parametrize(("text", "seed"), [(ROWS, 1), (POOL, 1)])
def test_the_whole_run_lies_within_the_interval(text: str, seed: int, tmp_path: Path) -> None:
    within = held_against(text, seed, tmp_path)
    assert all(within.values()), within


@pytest.mark.long
@pytest.mark.parametrize("text", [ROWS, POOL], ids=["rows", "pool"])
def test_nearly_all_of_many_runs_do(text: str, tmp_path: Path) -> None:
    found: list[bool] = []
    for seed in range(2, 12):
        (tmp_path / str(seed)).mkdir()
        found += held_against(text, seed, tmp_path / str(seed)).values()
    assert sum(found) >= 0.9 * len(found)  # the intervals say 95%, and four of each run go together


def test_the_pilot_is_paid_once_and_counts_for_the_run(tmp_path: Path) -> None:
    path = recipe(POOL, 5, tmp_path)
    with FakeProvider({"price": {"default": PRICE}}) as provider:
        env = environment(LLM_BASE_URL=provider.url, LLM_MODEL="fake", LLM_API_KEY="sk-estimate")
        first = estimated(path, env, tmp_path)
        asked = provider.bill()["charged"]
        assert estimated(path, env, tmp_path) == first, "the same rows, the same numbers"
        assert provider.bill()["charged"] == asked, "a second estimate asks nothing"
        assert account(tmp_path / "ledger", "pool").finished == pytest.approx(provider.bill()["usd"])
        run = seedmill("run", path, "--engine", "local", "--quiet", "--outputs", tmp_path, env=env)
        assert run.returncode == 0, run.stderr
        assert ledger_facts(tmp_path / "ledger")["calls"] == provider.bill()["charged"], "nothing is paid twice"
        stopped = seedmill("estimate", path, "--outputs", tmp_path / "x", "--budget", "0.002", env=env)
    assert stopped.returncode == 1
    assert "the budget of $0.00200 is used up" in stopped.stderr
    assert not list(tmp_path.glob("**/.estimate-*"))


def test_an_estimate_costs_nothing_to_rehearse_and_says_what_it_does_not_know(tmp_path: Path) -> None:
    path = recipe(ROWS, 1, tmp_path)
    path.write_text(path.read_text().replace(", price: {input: 0.5, cached_input: 0.1, output: 2.0}", ""))
    env = environment(LLM_BASE_URL="http://127.0.0.1:9/v1", LLM_MODEL="unheard-of")
    done = seedmill("estimate", path, "--rehearse", "--rows", 4, "--outputs", tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    assert "unknown" in done.stdout
    assert "$" not in done.stdout
    assert "assumed: " in done.stdout
    refused = seedmill("estimate", path, "--rehearse", "--budget", 1, "--outputs", tmp_path, env=env)
    assert refused.returncode == 2
    assert "the price of 'fake' at rehearsal (role default) is not known" in refused.stderr
    plain = tmp_path / "plain.yaml"
    plain.write_text(path.read_text().split("  - {stage: evol")[0])
    nothing = seedmill("estimate", plain, "--outputs", tmp_path, env=env)
    assert nothing.returncode == 2
    assert "no entry asks a model" in nothing.stderr


def test_projections() -> None:
    assert of_rows([2.0] * 10, 10) == Estimate(value=20, low=20, high=20), "all rows were seen"
    few = of_rows([2.0] * 10, 1000)
    assert few.low < few.value == 2000 < few.high, "ten equal rows do not make sure of a thousand"
    assert of_rows([0.0] * 10, 1000) == Estimate()
    many = of_rows([1.0, 3.0] * 50, 1000)
    assert many.high - many.low < few.high - few.low
    exact = of_yield([1.0] * 5, [10.0] * 5, 100)
    assert exact.value == pytest.approx(10)
    assert of_yield([1.0], [0.0], 10).high == float("inf")
    both = few + many
    assert (
        max(few.high - few.value, many.high - many.value)
        < both.high - both.value
        < few.high - few.value + many.high - many.value
    )
    assert crowding(0, 40, 40) == Estimate(value=1, low=1, high=1)
    some = crowding(3, 40, 150)
    assert 1 <= some.low < some.value < some.high <= 2
    assert crowding(0, 40, 150).value == 1 < crowding(0, 40, 150).high
    assert quantile(9) == 2.262
    assert quantile(30) == pytest.approx(2.042, abs=2e-3)
    assert quantile(10**6) == pytest.approx(1.960, abs=1e-3)
