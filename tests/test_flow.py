"""The order of calls and results depends on the flows alone."""

from collections.abc import Iterator

from pipeline.llm.flow import UNAVAILABLE, Flow, converse
from pipeline.llm.request import Reply, Request
from tests.doubles import FunctionLLM


def ask(n: int, step: int) -> Request:
    return Request(prompt=f"{n}.{step}")


def steps(n: int) -> Flow[tuple[int, list[str]]]:
    heard = []
    for step in range(n % 4):
        reply = yield ask(n, step)
        heard.append(reply.text)
    return n, heard


def test_results_come_in_start_order_with_their_own_replies() -> None:
    llm = FunctionLLM(lambda r: r.prompt or "")
    results = list(converse(llm, (steps(n) for n in range(50)), 3))
    assert results == [(n, [f"{n}.{s}" for s in range(n % 4)]) for n in range(50)]


def test_flows_without_calls_are_handed_out_before_the_source_ends() -> None:
    started = 0

    def flows() -> Iterator[Flow[tuple[int, list[str]]]]:
        nonlocal started
        for n in range(1000):
            started += 1
            yield steps(n * 4)

    results = converse(FunctionLLM(lambda r: ""), flows(), 2)
    next(results)
    assert started < 20
    assert len(list(results)) == 999


def test_an_unavailable_reply_ends_its_flow_alone() -> None:
    def answer(request: Request) -> str | Reply:
        return Reply(key="", text="", outcome="unavailable") if request.prompt == "2.1" else "x"

    results = list(converse(FunctionLLM(answer), (steps(n) for n in range(4)), 2))
    assert results[2] is UNAVAILABLE
    assert [r for i, r in enumerate(results) if i != 2] == [(0, []), (1, ["x"]), (3, ["x"] * 3)]


def test_a_request_depends_only_on_replies_older_than_the_window() -> None:
    pool: list[str] = []
    seen: list[int] = []

    def flow(n: int) -> Flow[None]:
        seen.append(len(pool))
        reply = yield ask(n, 0)
        pool.append(reply.text)

    list(converse(FunctionLLM(lambda r: "x"), (flow(n) for n in range(20)), 4))
    assert seen == [max(0, n - 3) for n in range(20)]
