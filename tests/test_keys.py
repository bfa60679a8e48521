"""Keys and secret headers never reach a file or a terminal, whatever a server does with them, in any spelling."""

import base64
import gzip
import html
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.__main__ import main
from pipeline.llm.secrets import MASK, forms_of, is_secret, scrubbed
from tests.runs import UNSET, environment, seedmill
from tests.scripted import Seen, Sent, failed, said, serving_script

KEY = 'sk-Zq7+Lw/9"xT%4=-mustNotLeak'
HEADER = "hdr-5gK2/mustNotLeakEither=="
QUERY = "query-88-mustNotLeak-at-all"
EVERY = (KEY, HEADER, QUERY)


def spellings(secret: str) -> dict[str, bytes]:
    """Written without our code: what a scan must not find."""
    raw = secret.encode()
    found = {
        "plain": secret,
        "url": quote(secret, safe=""),
        "url plus": quote_plus(secret),
        "json": json.dumps(secret)[1:-1],
        "html": html.escape(secret),
        "bearer in base64": base64.b64encode(b"Bearer " + raw).decode()[12:-4],
        "user in base64": base64.b64encode(b"user:" + raw).decode()[8:-4],
    }
    for shift in range(3):
        found[f"base64 {shift}"] = base64.b64encode(b"x" * shift + raw + b"xx")[4:-8].decode()
        found[f"url base64 {shift}"] = base64.urlsafe_b64encode(b"x" * shift + raw + b"xx")[4:-8].decode()
    return {name: text.encode() for name, text in found.items()}


def leaks(data: bytes) -> list[str]:
    return [
        f"{name} of {secret}"
        for secret in EVERY
        for name, form in spellings(secret).items()
        if form.lower() in data.lower()
    ]


def contents(path: Path) -> bytes:
    """A file's bytes, and its text where it is packed."""
    data = path.read_bytes()
    if path.suffix == ".gz":
        data += gzip.decompress(data)
    if path.suffix == ".parquet":
        data += pl.read_parquet(path).write_ndjson().encode()
    return data


def scan(folder: Path) -> int:
    """The number of files below the folder, after looking into each."""
    count = 0
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            count += 1
            found = leaks(contents(path))
            found += leaks(str(path).encode())
            assert not found, f"{path}: {found}"
    return count


def echo(seen: Seen) -> str:
    """All that a careless server could repeat: the headers as they came and in every spelling."""
    told = [f"{name}: {value}" for name, value in seen.headers.items()]
    values = [value.removeprefix("Bearer ") for value in seen.headers.values()]
    for value in (*values, *seen.headers.values()):
        raw = value.encode("latin-1")
        told += [quote(value, safe=""), quote_plus(value), json.dumps(value), html.escape(value)]
        told += [base64.b64encode(b"x" * n + raw + b"yy").decode() for n in range(3)]
        told += [base64.urlsafe_b64encode(b"x" * n + raw + b"yy").decode() for n in range(3)]
    return "\n".join(told)


def answering(seen: Seen) -> Sent:
    """Replies that obey the prompts, with everything echoed in text, thinking, the model's name and the headers."""
    text = f"4\n{echo(seen)}" if "grade" in json.dumps(seen.body).lower() else f"It is so.\n{echo(seen)}"
    whole = said(text)
    whole.body["model"] = seen.headers.get("x-extra", "m")
    whole.body["choices"][0]["message"]["reasoning_content"] = echo(seen)
    return Sent(whole.status, whole.body, {"x-ratelimit-echo": seen.headers.get("x-extra", "")})


FAILURES: dict[str, Callable[[Seen], Sent]] = {
    "401": lambda seen: failed(401, f"Incorrect API key provided: {echo(seen)}", code="invalid_api_key"),
    "403 page": lambda seen: Sent(403, f"<html><pre>{html.escape(echo(seen))}</pre></html>".encode()),
    "404": lambda seen: failed(404, echo(seen)),
    "400 for the input": lambda seen: failed(400, f"too long: {echo(seen)}"),
    "400 parameter": lambda seen: failed(400, f"Unknown parameter {echo(seen)}", code="unknown_parameter"),
    "500": lambda seen: failed(500, echo(seen)),
    "429": lambda seen: failed(429, echo(seen), {"Retry-After": "9999"}),
    "no JSON": lambda seen: Sent(200, echo(seen).encode()),
    "reset": lambda seen: Sent(how="reset"),
    "half": lambda seen: Sent(200, {"echo": echo(seen)}, how="half"),
}

RECIPE = """
name: leak
models:
  default:
    extra_headers: {X-Extra: $LEAK_HEADER}
    deadline: 1
    timeout: 2
entries:
  - stage: read
    data: [rows.jsonl]
  - stage: answer
    max_tokens: 50
  - stage: score
    max_tokens: 20
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [{"instruction": f"Name sea number {n}.", "input": "", "output": ""} for n in range(3)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    return tmp_path


def leaky(url: str, **more: str) -> dict[str, str]:
    names = {"LLM_BASE_URL": f"{url}?token={QUERY}", "LLM_MODEL": "m", "LLM_API_KEY": KEY, "LEAK_HEADER": HEADER}
    return environment(**names, **more)


def process(folder: Path, *words: object, env: dict[str, str], code: int = 0) -> None:
    """Run a command in a process of its own and look through what it prints."""
    words = tuple(folder / word if word == "recipe.yaml" else word for word in words)
    done = seedmill(*words, "--outputs", folder / "outputs", env=env)
    assert done.returncode == code, done.stderr
    assert not leaks((done.stdout + done.stderr).encode()), f"{words}\n{done.stdout}\n{done.stderr}"


class Commands:
    """Runs commands in this process, looks through what they print, and gives back their standard output."""

    def __init__(self, folder: Path, capfd: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self._folder, self._capfd, self._patch = folder, capfd, patch

    def __call__(self, *words: object, env: dict[str, str], code: int | None = 0) -> str:
        words = tuple(self._folder / word if word == "recipe.yaml" else word for word in words)
        self._capfd.readouterr()
        with self._patch.context() as patch:
            for name in UNSET:
                patch.delenv(name, raising=False)
            for name, value in env.items():
                patch.setenv(name, value)
            ended = main([str(word) for word in (*words, "--outputs", self._folder / "outputs")])
        said = self._capfd.readouterr()
        assert code is None or ended == code, said.err
        assert "Traceback" not in said.err
        assert not leaks((said.out + said.err).encode()), f"{words}\n{said.out}\n{said.err}"
        return said.out


@pytest.fixture
def told(folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Commands:
    return Commands(folder, capfd, monkeypatch)


@pytest.fixture
def server() -> Iterator[Any]:
    with serving_script(answering) as running:
        yield running


def test_the_echo_is_a_real_one(server: Any) -> None:
    """What the scan looks for is there to be found before anything is done about it."""
    headers = {"authorization": f"Bearer {KEY}", "x-extra": HEADER}
    text = echo(Seen("/", {}, headers, 1))
    for secret in (KEY, HEADER):
        missing = [name for name, form in spellings(secret).items() if form not in text.encode() and "user" not in name]
        assert not missing
    assert len(leaks(text.encode())) > 20
    assert leaks(scrubbed(text, [KEY, HEADER]).encode()) == []


@pytest.mark.parametrize("name", FAILURES)
def test_failures_tell_no_secret(folder: Path, told: Commands, name: str) -> None:
    with serving_script(FAILURES[name]) as running:
        env = leaky(running.url)
        told("run", "recipe.yaml", "--engine", "local", "--json", env=env, code=None)
        assert running.script.seen
        assert running.script.seen[0].headers["authorization"] == f"Bearer {KEY}"
        assert running.script.seen[0].headers["x-extra"] == HEADER
    told("status", "leak", "--json", env=env)
    told("ledger", "stats", "--json", env=env)
    assert scan(folder) > 5


def test_replies_that_hold_the_key_are_masked_everywhere(folder: Path, told: Commands, server: Any) -> None:
    env = leaky(server.url, OPENAI_LOG="debug")
    process(folder, "run", "recipe.yaml", "--engine", "local", env=env)
    rows = json.loads(told("show", "leak", "--json", "--full", env=env))
    assert MASK in json.dumps(rows)
    found = rows[0]["record"]["id"]
    key = json.loads(told("ledger", "ls", "--json", env=env))[0]["key"]
    for words in (
        ("status", "leak"),
        ("report", "leak", "--json"),
        ("show", "leak", "answer", "--full"),
        ("explain", "leak", found),
        ("explain", "leak", found, "--json"),
        ("calls", "leak"),
        ("calls", "leak", found),
        ("calls", "leak", found, "--json"),
        ("ledger", "stats"),
        ("ledger", "show", key),
        ("ledger", "export", "-o", folder / "calls.jsonl.gz"),
        ("preview", "recipe.yaml", "answer", "--live", "--json"),
        ("servers", "recipe.yaml"),
        ("servers", "recipe.yaml", "--json"),
    ):
        told(*words, env=env)
    exported = [path for path in (folder / "outputs/leak/export").rglob("*") if path.is_file()]
    assert any(path.suffix == ".parquet" for path in exported)
    assert any(MASK in path.read_text(encoding="utf-8") for path in exported if path.suffix == ".json")
    assert scan(folder) > 20


def test_ray_and_its_logs_hold_no_secret(folder: Path, server: Any) -> None:
    """Worker processes inherit the environment; what they and Ray write is scanned like the rest."""
    logs = Path(tempfile.mkdtemp(prefix="k", dir="/tmp"))  # a socket's path is short
    try:
        env = leaky(server.url, RAY_TMPDIR=str(logs))
        process(folder, "run", "recipe.yaml", "--engine", "ray", "--json", env=env)
        assert server.script.seen
        with serving_script(FAILURES["401"]) as refusing:
            env = leaky(refusing.url, RAY_TMPDIR=str(logs))
            process(folder, "run", "recipe.yaml", "--engine", "ray", "--run", "no", env=env, code=1)
            assert refusing.script.seen
        assert scan(folder) > 20
        assert scan_logs(logs) > 5
    finally:
        shutil.rmtree(logs, ignore_errors=True)


def scan_logs(logs: Path) -> int:
    count = 0
    for path in logs.rglob("*"):
        if path.is_file() and not path.is_symlink():
            count += 1
            assert not leaks(path.read_bytes()), path
    return count


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"LLM_BASE_URL": f"http://user:{quote(KEY, safe='')}@127.0.0.1:9/v1"}, "carries credentials"),
        ({"LLM_BASE_URL": f"http://127.0.0.1:9/v1?token={QUERY}", "LLM_MODEL": " "}, "no model is named"),
        ({"LLM_BASE_URL": f"ftp://x/{QUERY}"}, "not a URL"),
        ({"LEAK_HEADER": None}, "LEAK_HEADER, which is not set"),
    ],
)
def test_settings_that_cannot_be_are_told_without_their_secrets(
    folder: Path, capfd: pytest.CaptureFixture[str], env: dict[str, str | None], words: str
) -> None:
    names = {k: v for k, v in (leaky("http://127.0.0.1:9/v1") | env).items() if v is not None}
    options = ("--engine", "local", "--outputs", folder / "outputs")
    done = seedmill("run", folder / "recipe.yaml", *options, env=names)
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    assert words in done.stderr
    assert leaks((done.stdout + done.stderr).encode()) == []
    scan(folder)


@given(
    st.text(st.characters(codec="utf-8"), min_size=8, max_size=40).filter(is_secret),
    st.binary(max_size=7),
    st.binary(max_size=7),
)
def test_base64_of_anything_around_a_secret_is_masked(secret: str, before: bytes, after: bytes) -> None:
    data = before + secret.encode() + after
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        text = encode(data).decode()
        assert any(form in text for form in forms_of(secret))
        assert scrubbed(text, [secret]) != text


@pytest.mark.parametrize("word", ["", "abc", "EMPTY", "ollama", "none", "lm-studio", "sk-no-key-required", "test"])
def test_words_that_stand_for_no_key_are_left_in_replies(word: str) -> None:
    assert not is_secret(word)
    assert scrubbed(f"The word {word} stays.", [word]) == f"The word {word} stays."


@pytest.mark.parametrize("secret", ["hunter2", "sk-1", "token-abc123", "a" * 20, "密码很长", "pass word"])
def test_everything_else_is_a_secret(secret: str) -> None:
    assert is_secret(secret)
    assert scrubbed(f"You sent {secret}.", [secret]) == f"You sent {MASK}."
