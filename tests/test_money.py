"""Money as a user meets it: a budget that stops a run and lets it go on, and reports that account for every cent."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.llm.accounts import account
from pipeline.llm.fake.provider import FakeProvider
from pipeline.llm.ledger import ledger_facts
from pipeline.llm.ledger_tools import Choice
from pipeline.llm.prune import prune
from pipeline.report.money import as_text, money_of, sentence
from pipeline.run import read_run
from tests.runs import RECIPES, environment, made_bytes, seedmill

PRICE = {"input": 0.5, "output": 2.0}
RECIPE = RECIPES / "whole.yaml"


def run(outputs: Path, env: dict[str, str], *more: object) -> Any:
    price = f"models.default.price={json.dumps(PRICE)}"
    return seedmill("run", RECIPE, "--engine", "local", "--quiet", "--outputs", outputs, "--set", price, *more, env=env)


def env_of(provider: FakeProvider) -> dict[str, str]:
    return environment(LLM_BASE_URL=provider.url, LLM_MODEL="fake", LLM_API_KEY="sk-money")


def test_a_budget_stops_a_run_and_more_of_it_lets_it_go_on(tmp_path: Path) -> None:
    with FakeProvider({"price": {"default": PRICE}}) as provider:
        env = env_of(provider)
        stopped = run(tmp_path, env, "--budget", 0.02)
        assert stopped.returncode == 1
        assert "the budget of $0.0200 is used up: $0.0" in stopped.stderr
        assert "run the same command again" in stopped.stderr
        assert provider.bill()["usd"] <= 0.02
        status = json.loads((tmp_path / "whole" / "status.json").read_text())
        assert status["state"] == "incomplete"
        money = status["usage"]["money"]
        assert money["budget"] == 0.02
        assert money["reserved"] == money["unresolved"] == 0
        assert money["spent"] == pytest.approx(provider.bill()["usd"])
        again = run(tmp_path, env, "--set", "budget_usd=0.02")
        assert again.returncode == 1, "what was spent before counts"
        assert provider.bill()["usd"] <= 0.02
        done = run(tmp_path, env, "--budget", "$1")
        assert done.returncode == 0, done.stderr
        bill = provider.bill()
        assert run(tmp_path / "free", env).returncode == 0
    assert account(tmp_path / "ledger", "whole").finished == pytest.approx(bill["usd"])
    assert ledger_facts(tmp_path / "ledger")["calls"] == bill["charged"], "nothing is paid twice"
    assert made_bytes(tmp_path / "whole") == made_bytes(tmp_path / "free" / "whole")


def test_a_budget_over_an_unknown_price_refuses_before_the_first_call(tmp_path: Path) -> None:
    with FakeProvider() as provider:
        env = env_of(provider)
        done = seedmill("run", RECIPE, "--engine", "local", "--budget", 1, "--outputs", tmp_path, env=env)
        assert done.returncode == 2
        assert "the price of 'fake' at http://127.0.0.1" in done.stderr
        assert "hint: state it in the recipe" in done.stderr
        assert not (tmp_path / "whole").exists()
        assert provider.bill()["requests"] == 0


@pytest.fixture(scope="module")
def paid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that lost some replies."""
    outputs = tmp_path_factory.mktemp("paid")
    faults = [{"kind": "reset", "share": 0.05, "attempts": 2}, {"kind": "content_filter", "share": 0.03}]
    with FakeProvider({"price": {"default": PRICE}, "faults": faults}) as provider:
        assert run(outputs, env_of(provider)).returncode == 0
    return outputs


def test_every_cent_is_accounted_for(paid: Path) -> None:
    folder, ledger = paid / "whole", paid / "ledger"
    money = money_of(folder, read_run(folder), ledger)
    books = account(ledger, "whole")
    went = money.kept + sum(loss.cost for loss in (*money.rejected, *money.unused)) + money.pruned
    assert money.spent == pytest.approx(books.finished)
    assert went == pytest.approx(money.spent)
    assert sum(part.cost for part in money.parts) == pytest.approx(money.spent)
    assert money.unresolved == pytest.approx(books.unresolved)
    assert money.unresolved > 0
    assert money.rows == sum(1 for _ in (folder / "export" / "messages.jsonl").open())
    assert money.per_row == pytest.approx(money.spent / money.rows)
    assert [part.entry for part in money.parts] == ["self-instruct", "evol-instruct", "translate", "score"]
    assert "below-top-share" in {loss.why for loss in money.rejected if loss.entry == "prune"}
    assert all(loss.why != "superseded" for loss in money.rejected)


def test_the_report_shows_the_money(paid: Path) -> None:
    text = seedmill("report", "whole", "--outputs", paid).stdout
    assert "spent, $" in text
    assert "a kept row" in text
    assert "dropped by prune: below-top-share" in text
    assert "may be on the bill besides" in text
    facts = json.loads(seedmill("report", "whole", "--json", "--outputs", paid).stdout)["money"]
    assert facts["spent"] == pytest.approx(sum(part["cost"] for part in facts["parts"]))
    assert facts["per_kept_row"] == pytest.approx(facts["spent"] / facts["rows"])


def test_lost_replies_are_listed_and_reconciled(paid: Path) -> None:
    listed = seedmill("ledger", "reconcile", "whole", "--outputs", paid)
    assert "connection broken" in listed.stdout
    assert "nothing was changed" in listed.stdout
    before = account(paid / "ledger", "whole")
    done = json.loads(seedmill("ledger", "reconcile", "whole", "--paid", "none", "--json", "--outputs", paid).stdout)
    assert done["account"]["unresolved"] == 0
    assert sum(item["at_most"] for item in done["unresolved"]) == pytest.approx(before.unresolved)
    assert account(paid / "ledger", "whole").finished == pytest.approx(before.finished)
    assert seedmill("ledger", "reconcile", "whole", "--paid", "some", "--outputs", paid).returncode == 2


def test_pruned_calls_are_still_money(paid: Path) -> None:
    folder, ledger = paid / "whole", paid / "ledger"
    before = money_of(folder, read_run(folder), ledger)
    prune(ledger, Choice(run="whole", entry="score"))
    after = money_of(folder, read_run(folder), ledger)
    assert after.spent == before.spent
    assert after.pruned == pytest.approx(next(part.cost for part in before.parts if part.entry == "score"))
    assert "calls that were pruned" in str(as_text(after))


def test_an_unknown_price_is_said_as_such(tmp_path: Path) -> None:
    with FakeProvider() as provider:
        env = env_of(provider)
        done = seedmill("run", RECIPE, "--engine", "local", "--outputs", tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    assert "price unknown" in done.stdout
    assert "calls of unknown price spent" in done.stdout
    money = money_of(tmp_path / "whole", read_run(tmp_path / "whole"), tmp_path / "ledger")
    assert (money.spent, money.per_row) == (0.0, None)
    assert money.unknown == sum(part.calls for part in money.parts)
    assert "$0.00" not in str(sentence(money))
