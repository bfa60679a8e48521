"""Self-instruct: what is asked depends on replies alone, nothing is paid for what is not new, the books balance."""

import random
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.answer_request import answer_request
from pipeline.errors import UsageError
from pipeline.llm.request import Profile, Reply, Request
from pipeline.record import Message, Record, digest, records_of
from pipeline.stage import Outcome, merged
from pipeline.stages.self_instruct import SelfInstruct
from pipeline.stages.task_markup import LABELS
from tests.doubles import FunctionLLM, kept_ids, lend, reasons, stream_of

SMALL = Profile(role="default", model="double", style="completion", small=True)
BASE = Profile(role="default", model="double", style="completion")
WORDS = [
    *("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heath", "inlet"),
    *("jetty", "knoll", "larch", "maple", "north", "ocean", "prism", "quartz", "ridge"),
]


def seed(n: int, **more: str) -> Record:
    dice = random.Random(n)
    text = f"Seed {n}: " + " ".join(dice.choices(WORDS, k=9))
    messages = (Message(role="user", content=text), Message(role="assistant", content=f"Answer {n}"))
    return Record(id=f"seed-{n}", messages=messages, input=f"material {n}" if n % 3 == 0 else None, **more)  # type: ignore[arg-type]


SEEDS = [seed(n) for n in range(12)]


def prompt_of(request: Request) -> str:
    return request.messages[-1].content if request.prompt is None else request.prompt


def is_list(request: Request) -> bool:
    text = request.prompt or "\n".join(m.content for m in request.messages)
    return "Seed " in text or "种子" in text


def numbers(request: Request) -> tuple[int, int]:
    """First number asked for, and how many tasks are shown."""
    found = [int(n) for n in re.findall(r"^(\d+)\. (?:Instruction|指令)?", prompt_of(request), re.MULTILINE)]
    shown = max(found[:-1] if request.prompt else found)
    return shown + 1, shown


def invented(request: Request, count: int = 3) -> list[str]:
    dice = random.Random(digest(repr(request)))
    return ["Explain " + " ".join(dice.choices(WORDS, k=8)) for _ in range(count)]


def joint(request: Request) -> str:
    """A model that obeys the joint prompt."""
    first, _ = numbers(request)
    tasks = enumerate(invented(request), first)
    text = "\n".join(
        f"###\n{n}. Instruction: {t}\n{n}. Input: <noinput>\n{n}. Output: It is {t[8:]}." for n, t in tasks
    )
    return text.removeprefix(f"###\n{first}. Instruction:") if request.prompt else text


def two_step(request: Request) -> str:
    """A model that obeys the prompts of two-step."""
    if is_list(request):
        first, _ = numbers(request)
        text = "\n".join(f"{n}. {task}" for n, task in enumerate(invented(request), first))
        return text.removeprefix(f"{first}.") if request.prompt else text
    text = prompt_of(request)
    if "Yes or No" in text or text.endswith("Classification:"):
        return "Yes" if "amber" in text.rsplit("Explain", 1)[1] else "No"
    if text.endswith(("Label:", "Input:")):
        return " red\nInput: a rose" if text.endswith("Label:") else " a rose\nOutput: It is red."
    return "Label: red\nInput: a rose" if "Label:" in text else "Input: a rose\nOutput: It is red."


def run(
    tmp_path: Path, llm: FunctionLLM, seeds: list[Record] = SEEDS, random_seed: int = 1, **settings: object
) -> Outcome:
    outcomes = SelfInstruct(**settings).run(stream_of(tmp_path, seeds, block=5), lend(llm, "si", random_seed))  # type: ignore[arg-type]
    result = merged(list(outcomes))
    assert len(seeds) + result.derived == result.kept.height + result.drops.height
    return result


def dropped(result: Outcome, *but: str) -> dict[str, int]:
    return {reason: n for reason, n in reasons([result]).items() if reason not in ("seed", *but)}


def scripted(replies: list[str | Reply]) -> Callable[[Request], str | Reply]:
    """A model that gives these replies in turn, then nothing new."""
    waiting = list(replies)
    return lambda request: waiting.pop(0) if waiting else "###\n4. Instruction: Same old thing as ever.\n4. Output: ok"


MODES = [
    (joint, {"mode": "joint"}, None),
    (joint, {"mode": "joint", "machine_demonstrations": 2}, BASE),
    (two_step, {"mode": "two-step"}, None),
    (two_step, {"mode": "two-step", "machine_demonstrations": 2}, BASE),
    (two_step, {"mode": "two-step", "inputs": False}, SMALL),
]


@pytest.mark.parametrize(("model", "settings", "profile"), MODES)
def test_a_run_repeats_itself_and_another_seed_does_not(tmp_path: Path, model, settings, profile) -> None:  # type: ignore[no-untyped-def]
    runs = [run(tmp_path, FunctionLLM(model, profile), target=17, random_seed=s, **settings) for s in (1, 1, 2)]
    assert runs[0].kept.height == 17
    assert runs[0].kept.equals(runs[1].kept)
    assert runs[0].drops.equals(runs[1].drops)
    assert set(kept_ids([runs[0]])).isdisjoint(kept_ids([runs[2]]))
    assert len(set(kept_ids([runs[0]]))) == 17


@pytest.mark.parametrize(("model", "settings", "profile"), MODES)
def test_a_larger_target_asks_the_same_first(tmp_path: Path, model, settings, profile) -> None:  # type: ignore[no-untyped-def]
    llms = [FunctionLLM(model, profile) for _ in range(2)]
    small, large = (run(tmp_path, llm, target=t, **settings) for llm, t in zip(llms, (9, 40), strict=True))
    asked = len(llms[0].asked)
    assert 0 < asked < len(llms[1].asked)
    assert llms[0].asked == llms[1].asked[:asked]
    assert set(kept_ids([small])) < set(kept_ids([large]))
    assert small.notes["after_target"] <= 7
    assert small.notes["calls_for_tasks"] <= large.notes["calls_for_tasks"]


@pytest.mark.parametrize("window", [1, 3, 8])
def test_a_prompt_shows_only_tasks_from_replies_older_than_the_window(tmp_path: Path, window: int) -> None:
    llm = FunctionLLM(joint)
    run(tmp_path, llm, target=40, window=window, seed_demonstrations=2, machine_demonstrations=3)
    born: dict[str, int] = {}
    machine_shown = []
    for number, request in enumerate(llm.asked):
        shown = [t for t in born if t in prompt_of(request)]
        machine_shown.append(len(shown))
        assert all(born[t] <= number - window for t in shown)
        born |= dict.fromkeys(invented(request), number)
        assert numbers(request)[1] == 5  # seeds fill up
    assert machine_shown[:window] == [0] * window
    assert machine_shown[window:] == [3] * (len(llm.asked) - window)


def test_two_step_pays_nothing_for_what_is_not_new(tmp_path: Path) -> None:
    def model(request: Request) -> str:
        return "4. Name three ridges of amber.\n5. Name 3 ridges of amber." if is_list(request) else two_step(request)

    def ask(request: Request) -> str:
        return "No" if "Yes or No" in prompt_of(request) else model(request)

    llm = FunctionLLM(ask)
    result = run(tmp_path, llm, target=5, mode="two-step", patience=10)
    lists = [request for request in llm.asked if is_list(request)]
    assert 10 <= len(lists) <= 17  # patience, and what was already under way
    assert len(llm.asked) - len(lists) == 2  # kind and example of the one task that was new
    assert dropped(result) == {"not-novel": 2 * len(lists) - 1}
    assert result.notes == {"calls_for_tasks": len(lists), "dried_up": 1, "short_of_target": 4}
    detail = result.drops.filter(reason="not-novel")["detail"][0]
    assert kept_ids([result])[0] in detail
    assert '"similarity":0.8' in detail


def test_classification_has_its_answer_chosen_first(tmp_path: Path) -> None:
    llm = FunctionLLM(two_step)
    result = run(tmp_path, llm, target=20, mode="two-step")
    for record in records_of(result.kept):
        amber = "amber" in record.instruction
        assert record.tags["task_type"] == ("classification" if amber else "generation")
        assert (record.input, record.output) == ("a rose", "red" if amber else "It is red.")
        assert len(record.calls) == 3
    assert {"amber" in r.instruction for r in records_of(result.kept)} == {True, False}
    plain = run(tmp_path, FunctionLLM(two_step), target=5, mode="two-step", classify=False)
    assert all("task_type" not in r.tags and len(r.calls) == 2 for r in records_of(plain.kept))


def test_provenance(tmp_path: Path) -> None:
    llm = FunctionLLM(joint)
    record = next(records_of(run(tmp_path, llm, target=1).kept))
    assert (record.source, record.method, record.language) == ("self-instruct", "joint", "en")
    assert (record.model, record.license) == ("double", None)
    assert re.fullmatch(r"self_instruct\.joint\.chat\.en@[0-9a-f]{12}", record.prompt or "")
    assert record.calls == (digest("call", repr(llm.asked[0])),)
    assert len(record.parents) == 3
    shown = [s for s in SEEDS if s.instruction in prompt_of(llm.asked[0])]
    assert sorted(record.parents) == sorted(s.id for s in shown)
    assert all((s.input or "<noinput>") in prompt_of(llm.asked[0]) for s in shown)


def test_seeds_leave_as_drops_or_go_first(tmp_path: Path) -> None:
    result = run(tmp_path, FunctionLLM(joint), target=2)
    assert reasons([result])["seed"] == len(SEEDS)
    kept = run(tmp_path, FunctionLLM(joint), target=2, keep_seeds=True)
    assert kept_ids([kept])[:12] == [s.id for s in SEEDS]
    assert kept_ids([kept])[12:] == kept_ids([result])


def test_every_reason_of_the_joint_mode(tmp_path: Path) -> None:
    good = "4. Instruction: Name a bridge near ridge {n}.\n4. Input: <noinput>\n4. Output: The {n}th."
    pieces = {
        "preamble": "Here you are:",
        "unparsable": "###\nnothing here",
        "merged": "###\n4. Instruction: a\n4. Input: b\n4. Output: c\n5. Input: d\n5. Output: e",
        "missing-instruction": "###\n4. Input: b\n4. Output: c",
        "missing-output": "###\n4. Instruction: Name a lake\n4. Input: b",
        "empty-output": "###\n4. Instruction: Name a lake\n4. Input: b\n4. Output:",
        "alpaca-length": "###\n4. Instruction: Too short\n4. Output: c",
        "alpaca-blocked-word": "###\n4. Instruction: Describe the video of it\n4. Output: c",
        "alpaca-program": "###\n4. Instruction: Write a program that sorts\n4. Output: c",
        "alpaca-start": "###\n4. Instruction: (Name a lake there)\n4. Output: c",
        "not-novel": f"###\n4. Instruction: {SEEDS[2].instruction}\n4. Output: c",
        "output-is-input": "###\n4. Instruction: Repeat what is said here\n4. Input: b\n4. Output: b",
        "ends-with-colon": "###\n4. Instruction: List some of these things\n4. Output: As follows:",
        "truncated": "###\n4. Instruction: Name a lake in the",
    }
    replies: list[str | Reply] = [
        Reply(key="", text="\n".join(pieces.values()), outcome="length"),
        Reply(key="", text="no", outcome="content_filter"),
        Reply(key="", text="bad request", outcome="refused"),
        "  ",
        "\n###\n".join(["", *(good.format(n=word) for word in ("amber", "birch"))]),
        "###\n" + good.format(n="cedar"),
    ]
    result = run(tmp_path, FunctionLLM(scripted(replies)), target=1, window=1)
    expected = dict.fromkeys(pieces, 1) | {"content-filter": 1, "refused": 1, "after-target": 1}
    assert dropped(result) == expected | {"empty-reply": 1}
    by_reason = {row["reason"]: row["detail"] for row in result.drops.iter_rows(named=True)}
    assert "nothing here" in by_reason["unparsable"]
    assert "bad request" in by_reason["refused"]
    assert by_reason["alpaca-blocked-word"] == '{"value":"video"}'


def test_every_reason_of_the_two_step_mode(tmp_path: Path) -> None:
    faults = ["kind", "refused", "filter", "cut", "colon", "several", "odd", "blank", "half", "same"]

    def model(request: Request) -> str | Reply:
        if is_list(request):
            return "\n".join(f"{n}. Explain {fault} {WORDS[n]} {WORDS[-n]}" for n, fault in enumerate(faults, 4))
        text = prompt_of(request)
        fault = re.findall(r"Explain (\w+)", text)[-1]
        if "Yes or No" in text:
            return (
                Reply(key="", text="no", outcome="content_filter")
                if fault == "filter"
                else "Hm"
                if fault == "kind"
                else "No."
            )
        return {
            "refused": Reply(key="", text="bad", outcome="refused"),
            "cut": Reply(key="", text="Input: a\nOutput: b", outcome="length"),
            "colon": "Input: a\nOutput: b:",
            "several": "Input: a\nOutput: b\nInput: c\nOutput: d",
            "odd": "no idea",
            "blank": "Input: a\nOutput:",
            "half": "Input: a",
            "same": "Input: a\nOutput: a",
        }[fault]

    result = run(tmp_path, FunctionLLM(model), mode="two-step", max_calls=1, target=99)
    assert dropped(result) == {
        **{"kind-unclear": 1, "refused": 1, "content-filter": 1, "truncated": 1, "ends-with-colon": 1, "merged": 1},
        **{"unparsable": 1, "empty-output": 1, "missing-output": 1, "output-is-input": 1},
    }
    assert result.notes["asked_again"] == 1
    assert result.notes["short_of_target"] == 99


def test_the_latest_calls_decide_whether_novelty_has_dried_up(tmp_path: Path) -> None:
    llm = FunctionLLM(lambda r: "###\n4. Instruction: Name the same bridge again.\n4. Input: -\n4. Output: ok")
    result = run(tmp_path, llm, target=50, window=2, patience=6)
    assert result.notes["dried_up"] == 1
    assert len(llm.asked) == 8  # the first was new; the next six were not; one was already on its way
    assert run(tmp_path, FunctionLLM(lambda r: ""), target=1, patience=3, window=1).notes["calls_for_tasks"] == 3
    endless = run(tmp_path, FunctionLLM(joint), target=10**6, max_calls=5)
    assert (endless.kept.height, endless.notes["calls_for_tasks"]) == (15, 5)
    assert "dried_up" not in endless.notes


def test_a_call_without_reply_stops_the_pool(tmp_path: Path) -> None:
    llm = FunctionLLM(joint)
    llm.answer = lambda r: Reply(key="", text="", outcome="unavailable") if r in llm.asked[4:5] else joint(r)
    stage = SelfInstruct(target=500, window=2)
    outcomes = list(stage.run(stream_of(tmp_path, SEEDS), lend(llm)))
    assert [id for o in outcomes for id in o.unavailable] == ["call 4"]
    assert len(llm.asked) == 6  # the one after it was on its way


def test_chinese(tmp_path: Path) -> None:
    chars = "山水云雨风雪春秋江河湖海松竹梅兰星月"
    seeds = [
        replace(seed(n), messages=(Message(role="user", content=f"种子{n}：请谈谈{chars[n]}"), SEEDS[n].messages[1]))
        for n in range(6)
    ]

    def model(request: Request) -> str:
        dice = random.Random(digest(repr(request)))
        first, _ = numbers(request)
        tasks = ["".join(dice.choices(chars, k=12)) for _ in range(3)] + ["写诗", "描述图片里的风景"]
        fields = LABELS["zh"]
        return "\n".join(
            f"###\n{n}. {fields['instruction']}{t}\n{n}. {fields['input']}<无输入>\n{n}. {fields['output']}答{t}"
            for n, t in enumerate(tasks, first)
        )

    llm = FunctionLLM(model)
    result = run(tmp_path, llm, seeds, target=8, language="zh")
    assert result.kept.height == 8
    assert set(result.kept["language"]) == {"zh"}
    assert result.kept["input"].null_count() == 8
    assert reasons([result])["belle-length"] >= 2
    assert reasons([result])["belle-blocked-word"] >= 2
    assert "输入：<无输入>" in prompt_of(llm.asked[0])
    repeated = run(
        tmp_path,
        FunctionLLM(lambda r: f"4. 指令：{seeds[1].instruction}。\n4. 输出：好"),
        seeds,
        language="zh",
        patience=1,
    )
    assert dropped(repeated).keys() == {"not-novel"}


def test_a_small_completion_model_continues_a_list_and_answers_in_chat(tmp_path: Path) -> None:
    llm = FunctionLLM(two_step, SMALL)
    result = run(
        tmp_path, llm, target=4, mode="two-step", inputs=False, answer_system="Be brief.", presence_penalty=2.0
    )
    lists = [r for r in llm.asked if r.prompt is not None]
    assert lists[0].prompt is not None
    assert lists[0].prompt.endswith("\n4.")
    assert lists[0].params["stop"] == ["\n\n", "\n14."]
    assert lists[0].params["presence_penalty"] == 2.0
    assert all("material" not in (r.prompt or "") for r in lists)
    for record in records_of(result.kept):
        request = answer_request(record, SMALL, seed=1, system="Be brief.")
        assert request.messages[0].content == "Be brief."
        assert digest("call", repr(request)) in record.calls


def test_answers_that_do_not_come_are_drops(tmp_path: Path) -> None:
    kinds = {
        "answer-cut-off": "length",
        "answer-refused-by-server": "refused",
        "answer-content-filter": "content_filter",
        "answer-empty": "ok",
    }

    def model(request: Request) -> str | Reply:
        if is_list(request):
            return two_step(request)
        kind = list(kinds)[int(digest(request.messages[-1].content), 16) % 4]
        return Reply(key="", text="" if kind == "answer-empty" else "So", outcome=kinds[kind])  # type: ignore[arg-type]

    result = run(tmp_path, FunctionLLM(model), mode="two-step", inputs=False, max_calls=8)
    assert dropped(result).keys() == kinds.keys()
    assert result.kept.height == 0


def test_a_seed_that_is_too_long_or_has_no_answer_is_not_shown(tmp_path: Path) -> None:
    long = replace(seed(50), messages=(Message(role="user", content="Seed 50 " + "long " * 99), SEEDS[0].messages[1]))
    bare = replace(seed(51), messages=SEEDS[1].messages[:1])
    llm = FunctionLLM(joint)
    run(tmp_path, llm, [*SEEDS[:4], long, bare], target=9, demonstration_limit=200)
    assert not any("long long" in prompt_of(r) or "\nSeed 51" in prompt_of(r) for r in llm.asked)
    with pytest.raises(UsageError, match="none of the 1 incoming"):
        run(tmp_path, FunctionLLM(joint), [long], demonstration_limit=20)


def test_settings_that_make_no_sense() -> None:
    with pytest.raises(UsageError, match="two-step"):
        SelfInstruct(inputs=False)
    with pytest.raises(UsageError, match="made for English"):
        SelfInstruct(language="zh", preset="alpaca")
    with pytest.raises(UsageError, match="at least one"):
        SelfInstruct(seed_demonstrations=0)
    assert SelfInstruct(language="zh").rules == "belle"


def test_a_model_that_cannot_write_the_language_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot write 'zh'"):
        run(tmp_path, FunctionLLM(joint, replace(SMALL, languages=("en",))), language="zh")


def test_a_prompt_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("[user]\nSeed tasks: {{demonstrations}}\nMore: {{count}}, from {{first}}", encoding="utf-8")
    llm = FunctionLLM(joint)
    result = run(tmp_path, llm, target=2, prompt=str(path), tasks_per_call=7)
    assert prompt_of(llm.asked[0]).endswith("More: 7, from 4")
    assert result.kept["prompt"][0].startswith("mine.txt@")
