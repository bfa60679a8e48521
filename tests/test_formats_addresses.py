"""Files on S3 (moto's server) and on the Hub (the local one): read, written, and refused in sentences."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants

from pipeline.convert import convert
from pipeline.errors import DataError, SeedmillError, UsageError
from pipeline.formats.addresses import fetched, is_address, matches
from pipeline.formats.files import expand
from pipeline.recipe import load_recipe
from tests.local_hub import Blob, LocalHub, local_hub
from tests.runs import seedmill

boto3 = pytest.importorskip("boto3")
moto = pytest.importorskip("moto.server")

ROWS = b'{"instruction": "a", "output": "b"}\n{"instruction": "c", "output": "d"}\n'


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL_S3", "AWS_DEFAULT_REGION", "AWS_NO_SIGN_REQUEST"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "AWS_ENDPOINT_URL": server,
        "AWS_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "something",
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1,localhost",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3", endpoint_url=server, region_name="eu-west-1")
    client.create_bucket(Bucket="sets", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    for key in ("a/one.jsonl", "a/two.jsonl", "a/deep/three.jsonl", "b/one.jsonl"):
        client.put_object(Bucket="sets", Key=key, Body=ROWS)
    yield client
    for item in client.list_objects_v2(Bucket="sets")["Contents"]:
        client.delete_object(Bucket="sets", Key=item["Key"])
    client.delete_bucket(Bucket="sets")


def test_files_on_s3_are_read_by_name_and_by_glob(s3: Any) -> None:
    assert [path.read_bytes() for path in fetched("s3://sets/a/one.jsonl")] == [ROWS]
    assert [path.name for path in expand(["s3://sets/a/*.jsonl"])] == ["one.jsonl", "two.jsonl"]
    assert [path.name for path in fetched("s3://sets/**/*.jsonl")] == [
        *("three.jsonl", "one.jsonl", "two.jsonl", "one.jsonl")
    ]


def test_a_file_is_fetched_once_and_again_when_it_has_changed(s3: Any) -> None:
    (first,) = fetched("s3://sets/a/one.jsonl")
    first.write_bytes(ROWS.replace(b"a", b"x"))
    assert fetched("s3://sets/a/one.jsonl") == [first]
    s3.put_object(Bucket="sets", Key="a/one.jsonl", Body=ROWS * 2)
    (second,) = fetched("s3://sets/a/one.jsonl")
    assert second != first
    assert second.read_bytes() == ROWS * 2


def test_a_conversion_goes_from_s3_to_s3(s3: Any) -> None:
    done = convert("s3://sets/a/*.jsonl", "messages", "s3://sets/out/all.jsonl.zst")
    assert (done.written, done.drops) == (4, None)
    back = convert("s3://sets/out/all.jsonl.zst", "alpaca", "s3://sets/out/all.csv", dry_run=True)
    assert back.written == 4
    keys = [item["Key"] for item in s3.list_objects_v2(Bucket="sets", Prefix="out/")["Contents"]]
    assert keys == ["out/all.jsonl.zst"]


def test_a_recipe_reads_from_s3(s3: Any, tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text("entries:\n- stage: read\n  data: [s3://sets/a/one.jsonl]\n")
    (entry,) = load_recipe(recipe).entries
    assert [path.read_bytes() for path in entry.files] == [ROWS]


def test_clean_reads_from_s3(s3: Any, tmp_path: Path) -> None:
    done = seedmill("clean", "s3://sets/a/*.jsonl", "--run", "far", "--json", env=dict(os.environ), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "outputs/far/00-read/manifest.json").read_text())["kept"] == 4


@pytest.mark.parametrize(
    ("address", "kind", "sentence"),
    [
        ("s3://sets/a/none.jsonl", DataError, "no such file"),
        ("s3://sets/a/*.csv", DataError, "no such file"),
        ("s3://sets", UsageError, "names no file"),
        ("s3://sets/a/", UsageError, "names no file"),
        ("gs://sets/a", DataError, "gs:// are not read"),
    ],
)
def test_a_wrong_address_is_a_sentence(s3: Any, address: str, kind: type[SeedmillError], sentence: str) -> None:
    with pytest.raises(kind, match=sentence) as caught:
        expand([address])
    assert caught.value.hint
    assert "something" not in str(caught.value)


def test_a_server_that_refuses_or_is_not_there_is_a_sentence(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SeedmillError, match=r"s3://nobodys/x\.jsonl"):
        convert("s3://sets/a/one.jsonl", "alpaca", "s3://nobodys/x.jsonl")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(SeedmillError, match=r"s3://sets/a/one\.jsonl") as caught:
        fetched("s3://sets/a/one.jsonl")
    assert "AWS_ENDPOINT_URL" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("path", "pattern", "fits"),
    [
        ("data/a.jsonl", "data/*.jsonl", True),
        ("data/x/a.jsonl", "data/*.jsonl", False),
        ("data/x/a.jsonl", "data/**/*.jsonl", True),
        ("data/a.jsonl", "data/**/*.jsonl", True),
        ("a.jsonl", "", False),
    ],
)
def test_a_star_stays_within_a_folder(path: str, pattern: str, fits: bool) -> None:
    assert matches(path, pattern) is fits


def test_only_what_has_a_scheme_is_an_address() -> None:
    assert is_address("s3://b/k")
    assert is_address("hf://datasets/a/b/c")
    assert not is_address("data/a.json")
    assert not is_address("odd/name://x")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    with local_hub() as hub:
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_RESOURCE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        # huggingface_hub reads these from the environment when it is imported, so they are set where they are kept.
        for name, value in {"HF_HUB_DISABLE_XET": True, "HF_HUB_OFFLINE": False}.items():
            monkeypatch.setattr(constants, name, value)
        for name, place in {"HF_HUB_CACHE": "hub", "HF_TOKEN_PATH": "token"}.items():
            monkeypatch.setattr(constants, name, str(tmp_path / "hf" / place))
        huggingface_hub.close_session()
        files = {"data/one.jsonl": Blob(ROWS), "data/two.jsonl": Blob(ROWS), "README.md": Blob(b"# x")}
        hub.make("datasets", "alice/tasks", files)
        yield hub
        huggingface_hub.close_session()


def test_files_on_the_hub_are_read_by_name_and_by_glob(hub: LocalHub, tmp_path: Path) -> None:
    assert [path.name for path in fetched("hf://datasets/alice/tasks/data/*.jsonl")] == ["one.jsonl", "two.jsonl"]
    output = tmp_path / "o.jsonl"
    assert convert("hf://datasets/alice/tasks@main/data/one.jsonl", "messages", output).written == 2
    assert json.loads(output.read_text().splitlines()[0])["messages"][0] == {"role": "user", "content": "a"}


@pytest.mark.parametrize(
    ("address", "kind", "sentence", "hint"),
    [
        ("hf://datasets/alice/tasks/data/none.jsonl", DataError, "no such file", "data/one.jsonl"),
        ("hf://datasets/alice/tasks", DataError, "no such file", "data/one.jsonl"),
        ("hf://datasets/alice/others/a.jsonl", UsageError, "alice/others", "token"),
        ("hf://alice/tasks/a.jsonl", UsageError, "not a dataset's file", "hf://datasets/owner"),
    ],
)
def test_a_wrong_name_on_the_hub_is_a_sentence(
    hub: LocalHub, address: str, kind: type[SeedmillError], sentence: str, hint: str
) -> None:
    with pytest.raises(kind, match=sentence) as caught:
        fetched(address)
    assert hint in (caught.value.hint or "")


def test_the_hub_is_not_written_to_by_a_conversion(hub: LocalHub, tmp_path: Path) -> None:
    source = tmp_path / "a.jsonl"
    source.write_bytes(ROWS)
    with pytest.raises(UsageError, match="takes whole datasets"):
        convert(source, "alpaca", "hf://datasets/alice/tasks/o.jsonl")
