"""Files elsewhere: `s3://bucket/key` and `hf://datasets/owner/name/file`, fetched to a cache and then read as any file.

S3 is reached by pyarrow, with the credentials, region and endpoint that AWS's own tools take (AWS_ACCESS_KEY_ID,
AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL ...; AWS_NO_SIGN_REQUEST for public buckets). The Hub is reached as
everywhere here.
"""

import fnmatch
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import DataError, SeedmillError, UsageError
from pipeline.record import digest

S3, HUB = "s3://", "hf://"
_TIMEOUT_S = 20.0
_HINT = "check the address, AWS_REGION, AWS_ENDPOINT_URL and the credentials that AWS's own tools would take"


def is_address(text: str) -> bool:
    """Whether it names a file elsewhere; DataError for one of a kind that is not read."""
    scheme, found, _ = text.partition("://")
    if not found or "/" in scheme or "\\" in scheme:
        return False
    if text.startswith((S3, HUB)):
        return True
    raise DataError(f"{text}: addresses of {scheme}:// are not read", "fetch the file first, or use s3:// or hf://")


def fetched(address: str) -> list[Path]:
    """The files of an address (its last parts may be a glob), in the cache; what is there already is not fetched again.

    Raises:
        DataError: there is no such file.
        UsageError, SeedmillError: the address is malformed, or its server refuses or is out of reach.
    """
    if address.startswith(HUB):
        from pipeline.hub import fetch_dataset  # Late: it brings the Hub's whole client.

        return fetch_dataset(address)
    bucket, _, key = address.removeprefix(S3).partition("/")
    if not bucket or not key or key.endswith("/"):
        raise UsageError(f"{address}: names no file", "write s3://bucket/folder/file.jsonl, or a glob")
    with _sentences(address):
        system = _system(bucket)
        found = _listed(system, bucket, key)
        if not found:
            raise DataError(f"{address}: no such file", "check the address; a glob may match nothing")
        return [_copied(system, info) for info in found]


@contextmanager
def placed(output: Path | str) -> Iterator[Path]:
    """Where to write what shall be at `output`: there, or in a folder from where it is put there at the end.

    Raises:
        UsageError: nothing can be written to such an address.
    """
    if not is_address(str(output)):
        yield Path(output)
        return
    address = str(output)
    if address.startswith(HUB):
        raise UsageError(f"{address}: the Hub takes whole datasets", "seedmill publish puts a run's export there")
    bucket, _, key = address.removeprefix(S3).partition("/")
    if not bucket or not key or key.endswith("/"):
        raise UsageError(f"{address}: names no file", "write s3://bucket/folder/file.jsonl")
    with tempfile.TemporaryDirectory(prefix="seedmill-") as folder:
        place = Path(folder) / Path(key).name
        yield place
        if place.exists():
            with (
                _sentences(address),
                place.open("rb") as local,
                _system(bucket).open_output_stream(f"{bucket}/{key}") as far,
            ):
                shutil.copyfileobj(local, far, 1 << 20)


def _system(bucket: str) -> Any:
    from pyarrow import fs

    environment = os.environ
    endpoint = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL")
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
    if region is None:
        region = "us-east-1" if endpoint else fs.resolve_s3_region(bucket)
    return fs.S3FileSystem(
        region=region,
        endpoint_override=endpoint,
        anonymous=bool(environment.get("AWS_NO_SIGN_REQUEST")),
        connect_timeout=_TIMEOUT_S,
        request_timeout=_TIMEOUT_S * 3,
    )


def _listed(system: Any, bucket: str, key: str) -> list[Any]:
    from pyarrow import fs

    if not any(character in key for character in "*?["):
        info = system.get_file_info(f"{bucket}/{key}")
        return [info] if info.type == fs.FileType.File else []
    parts = key.split("/")
    plain = next(i for i, part in enumerate(parts) if any(character in part for character in "*?["))
    base = "/".join([bucket, *parts[:plain]])
    every = system.get_file_info(fs.FileSelector(base, recursive=True, allow_not_found=True))
    files = [info for info in every if info.type == fs.FileType.File]
    return sorted((i for i in files if matches(i.path.partition("/")[2], key)), key=lambda info: str(info.path))


def matches(path: str, pattern: str) -> bool:
    """Whether a path fits a glob, part by part; `**` stands for any parts."""
    if "**" in pattern:
        return fnmatch.fnmatchcase(path, pattern.replace("**/", "*"))
    parts, patterns = path.split("/"), pattern.split("/")
    return len(parts) == len(patterns) and all(map(fnmatch.fnmatchcase, parts, patterns))


def _copied(system: Any, info: Any) -> Path:
    """The cached copy of one object, made unless the same one (by size and time) is there."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    mark = digest("s3", info.path, info.size, info.mtime_ns, os.environ.get("AWS_ENDPOINT_URL"))
    place = home / "seedmill" / "s3" / mark / Path(info.path).name
    if place.exists() and place.stat().st_size == info.size:
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    partial = place.with_name(f".{place.name}.{os.getpid()}.partial")
    try:
        with system.open_input_stream(info.path) as far, partial.open("wb") as local:
            shutil.copyfileobj(far, local, 1 << 20)
        partial.replace(place)
    finally:
        partial.unlink(missing_ok=True)
    return place


@contextmanager
def _sentences(address: str) -> Iterator[None]:
    """What pyarrow raises, as a sentence: the last part of its message is the server's or the client's own."""
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{address}: no such file", _HINT) from None
    except OSError as error:
        said = " ".join(str(error).split())
        raise SeedmillError(f"{address}: {said[-300:]}", _HINT) from None
