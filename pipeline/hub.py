"""The Hugging Face Hub: whose token, at which address, and what is downloaded from it."""

import os
import re
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read at the import below, and on unless somebody says so

from huggingface_hub import HfApi, get_token, parse_hf_uri
from huggingface_hub.errors import HfUriError, HFValidationError, OIDCError, RemoteEntryNotFoundError
from huggingface_hub.utils import disable_progress_bars, validate_repo_id  # type: ignore[attr-defined]

from pipeline.errors import DataError, UsageError
from pipeline.formats.addresses import matches
from pipeline.hub_faults import FAILURES, TOKEN_HINT, Call, sentence

_DATA = ((".parquet",), (".jsonl", ".jsonl.gz"), (".json", ".json.gz"))
"""Endings of files of rows, the ones to be read first; of several kinds only the first is."""


def fetch_model(uri: str) -> Path:
    """A model's file from the Hub, downloaded into the user's Hugging Face cache unless it is there already.

    Args:
        uri: `hf://owner/repo/path/in/repo.gguf`; `@revision` may follow the repository.

    Raises:
        UsageError: malformed, or the Hub has no such repository or file, or not for this token.
        SeedmillError: the Hub is out of reach and the file not in the cache, or the disk is full.
    """
    try:
        place = parse_hf_uri(uri)
    except HfUriError:
        place = None
    if place is None or place.type != "model" or not place.path_in_repo or not uri.startswith("hf://"):
        raise UsageError(f"{uri}: not a model's file on the Hub", "write hf://owner/repo/file.gguf")
    token = token_in_use()
    api = api_for(token)
    call = Call(what=f"model {place.id}", endpoint=api.endpoint, token=token)
    try:
        with quiet():
            return Path(api.hf_hub_download(place.id, place.path_in_repo, revision=place.revision))
    except RemoteEntryNotFoundError:
        raise UsageError(f"the model {place.id} has no file '{place.path_in_repo}'", _offered(api, place.id)) from None
    except FAILURES as error:
        raise sentence(error, call) from None


def fetch_dataset(uri: str) -> list[Path]:
    """Files of a dataset on the Hub, downloaded into the user's Hugging Face cache unless they are there already.

    Args:
        uri: `hf://datasets/owner/name/path/in/repo`; `@revision` may follow the name, and the path may be a glob.

    Raises:
        UsageError: malformed, or the Hub has no such dataset, or not for this token.
        DataError: the dataset has no such file.
        SeedmillError: the Hub is out of reach and the file not in the cache, or the disk is full.
    """
    try:
        place = parse_hf_uri(uri)
    except HfUriError:
        place = None
    if place is None or place.type != "dataset":
        raise UsageError(f"{uri}: not a dataset's file on the Hub", "write hf://datasets/owner/name/file.jsonl")
    token = token_in_use()
    api = api_for(token)
    call = Call(what=f"dataset {place.id}", endpoint=api.endpoint, token=token)
    wanted = place.path_in_repo or ""
    try:
        with quiet():
            names = [wanted]
            if not wanted or any(character in wanted for character in "*?["):
                listed = api.list_repo_files(place.id, repo_type="dataset", revision=place.revision)
                names = [name for name in sorted(listed) if matches(name, wanted)]
                if not names:
                    raise _no_such_file(uri, listed)
            kind = "dataset"
            return [
                Path(api.hf_hub_download(place.id, name, repo_type=kind, revision=place.revision)) for name in names
            ]
    except RemoteEntryNotFoundError:
        listed = api.list_repo_files(place.id, repo_type="dataset", revision=place.revision)
        raise _no_such_file(uri, listed) from None
    except FAILURES as error:
        raise sentence(error, call) from None


def fetch_repository(repo: str, revision: str | None = None) -> Path:
    """The data files of a dataset, downloaded into the user's Hugging Face cache unless they are there already.

    Args:
        repo: `user/name`.
        revision: branch, tag or commit; the newest of main when not given.

    Returns:
        The folder they are in.

    Raises:
        UsageError: malformed, or the Hub has no such dataset or revision, or not for this token.
        DataError: it holds no file that is read here.
        SeedmillError: the Hub is out of reach, or the disk is full.
    """
    check_name(repo)
    token = token_in_use()
    api = api_for(token)
    call = Call(what=f"dataset {repo}" + (f" at {revision}" if revision else ""), endpoint=api.endpoint, token=token)
    try:
        with quiet():
            names = api.list_repo_files(repo, repo_type="dataset", revision=revision)
            # An export holds its rows in several formats: the others are not fetched.
            wanted = next((ends for ends in _DATA if any(name.endswith(ends) for name in names)), None)
            if wanted is None:
                hint = f"see {api.endpoint}/datasets/{repo}"
                raise DataError(f"the dataset {repo} holds no parquet or JSON file", hint)
            patterns = [f"*{end}" for end in wanted]
            return Path(api.snapshot_download(repo, repo_type="dataset", revision=revision, allow_patterns=patterns))
    except FAILURES as error:
        raise sentence(error, call) from None


def _no_such_file(uri: str, listed: list[str]) -> DataError:
    shown = ", ".join(name for name in listed if name != ".gitattributes")[:300]
    return DataError(f"{uri}: no such file", f"the dataset has {shown}" if shown else "the dataset is empty")


def _offered(api: HfApi, repo: str) -> str:
    try:
        names = [name for name in api.list_repo_files(repo) if name.endswith(".gguf")]
    except FAILURES:
        names = []
    return f"it has {', '.join(names[:8])}" if names else "see the repository's list of files for one in .gguf"


def check_name(repo: str) -> None:
    """Refuse what cannot be `user/name`, before anything is asked."""
    hint = "write USER/NAME, as in alice/my-data"
    try:
        validate_repo_id(repo)
    except HFValidationError:
        raise UsageError(f"'{repo}' cannot be the name of a dataset on the Hub", hint) from None
    if "/" not in repo:
        raise UsageError(f"'{repo}' does not say whose dataset it is", hint)


def api_for(token: str | None) -> HfApi:
    """The Hub, or the mirror that HF_ENDPOINT names now."""
    endpoint = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
    if not re.match(r"https?://[^/\s]", endpoint):
        raise UsageError(f"HF_ENDPOINT is '{endpoint}', which is no address", "set it to https://HOST, or unset it")
    return HfApi(endpoint=endpoint, token=token or False, library_name="seedmill")


def token_in_use() -> str | None:
    """The token of the environment or of the Hub's own login."""
    try:
        return get_token()
    except OIDCError as error:
        raise UsageError(f"HF_OIDC_RESOURCE is set, but brings no token: {error}", TOKEN_HINT) from None


def quiet() -> AbstractContextManager[object]:
    """No progress bars where nobody looks."""
    return nullcontext() if sys.stderr.isatty() else disable_progress_bars()
