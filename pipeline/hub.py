"""The Hugging Face Hub: an export folder goes there as one commit, a model's file comes from there."""

import os
import re
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read at the import below, and on unless somebody says so

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_token, parse_hf_uri
from huggingface_hub.errors import HfHubHTTPError, HfUriError, HFValidationError, OIDCError, RemoteEntryNotFoundError
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import disable_progress_bars, validate_repo_id  # type: ignore[attr-defined]

from pipeline.errors import DataError, SeedmillError, UsageError
from pipeline.formats.addresses import matches
from pipeline.hub_faults import (
    FAILURES,
    TOKEN_HINT,
    Call,
    out_of_reach,
    sentence,
    status_of,
    wait_s,
    worth_another_try,
)
from pipeline.leaks import held_secrets, refuse_leaks
from pipeline.release import SUMS, Difference, HubFile, Published, compare, hidden, listed_in, local_files

TRIES = 5
_TIMEOUT_S = 15.0

_TITLE = "seedmill: "
"""How our commits begin; a repository without one holds nothing of ours that could be deleted."""


@dataclass(frozen=True, kw_only=True)
class _Target:
    """Where a release goes, and as whom."""

    api: HfApi
    repo: str
    private: bool
    call: Call

    @property
    def url(self) -> str:
        return f"{self.api.endpoint}/datasets/{self.repo}"


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """The repository at one commit."""

    head: str | None
    private: bool
    files: Mapping[str, HubFile]


def publish_folder(
    folder: Path,
    repo: str,
    *,
    private: bool,
    dry_run: bool,
    allow_secrets: bool = False,
    sleep: Callable[[float], None] = time.sleep,
) -> Published:
    """Make the dataset repository hold what the folder holds, in one commit, or in none when it does already.

    Hidden files and the exporter's manifest.json stay here. Deleted is only what an earlier release of ours left: what
    its SHA256SUMS lists, or the files under data/ when it had none. HF_ENDPOINT is read at the call.

    Args:
        folder: an export.
        repo: `user/name`; made when it is not there.
        private: how it is made; a public one that is there is refused, so that nothing gets public by omission.
        dry_run: only say what would change; needs neither token nor network.
        allow_secrets: do not look for keys in the files.
        sleep: how to wait before another try.

    Raises:
        UsageError: malformed name, no token, no right.
        DataError: something looks like a secret, or the card's metadata is refused; nothing was uploaded.
        SeedmillError: the Hub was out of reach, or refused, for TRIES tries.
    """
    _check_name(repo)
    files = local_files(folder)
    token = _token()
    if token is None and not dry_run:
        raise UsageError("there is no Hugging Face token to publish with", TOKEN_HINT)
    if not allow_secrets:
        refuse_leaks(files, held_secrets(token))
    api = _api(token)
    call = Call(what=f"dataset {repo}", endpoint=api.endpoint, token=token)
    target = _Target(api=api, repo=repo, private=private, call=call)
    with _quiet():
        return _rehearse(target, files) if dry_run else _publish(target, files, sleep)


def _rehearse(target: _Target, files: Mapping[str, Path]) -> Published:
    hub: Literal["there", "absent", "unreachable"] = "there"
    why, seen = None, None
    try:
        seen = _look(target)
        if seen is None:
            hub, why = "absent", f"the Hub has no dataset {target.repo}, or none that you may see"
        difference = compare(files, {}, None) if seen is None else _difference(target, files, seen)
    except FAILURES as error:
        if not out_of_reach(error):
            raise sentence(error, target.call) from None
        hub, why, seen = "unreachable", sentence(error, target.call).message, None
        difference = compare(files, {}, None)
    return Published(
        repo=target.repo,
        url=target.url,
        hub=hub,
        why=why,
        private=target.private if seen is None else _visibility(target, seen),
        dry_run=True,
        difference=difference,
    )


def _publish(target: _Target, files: Mapping[str, Path], sleep: Callable[[float], None]) -> Published:
    """Look, compare, commit. Every try looks again, so a commit whose reply was lost is not made twice."""
    for attempt in range(TRIES):
        try:
            return _attempt(target, files)
        except FAILURES as error:
            if attempt == TRIES - 1 or not worth_another_try(error):
                raise sentence(error, target.call) from None
            sleep(wait_s(error, attempt))
    raise AssertionError("the last try returns or raises")


def _attempt(target: _Target, files: Mapping[str, Path]) -> Published:
    seen = _look(target)
    if seen is None:
        target.api.create_repo(target.repo, repo_type="dataset", private=target.private, exist_ok=True)
        seen = _look(target)
        if seen is None:
            raise UsageError(f"the Hub made {target.repo} but does not show it to this token", TOKEN_HINT)
    private = _visibility(target, seen)
    difference = _difference(target, files, seen)
    commit, notes = (None, ()) if difference.empty else _commit(target, files, difference, seen.head)
    return Published(
        repo=target.repo,
        url=target.url,
        hub="there",
        private=private,
        dry_run=False,
        difference=difference,
        commit=commit,
        notes=notes,
    )


def _look(target: _Target) -> _Seen | None:
    """The repository at its newest commit; None when there is none (or none that this token may see)."""
    try:
        info = target.api.dataset_info(target.repo, timeout=_TIMEOUT_S)
    except HfHubHTTPError as error:
        # Somebody without a token gets 401 for what is private and for what does not exist.
        if status_of(error) == 404 or (status_of(error) == 401 and target.call.token is None):
            return None
        raise
    return _Seen(head=info.sha, private=bool(info.private), files=_tree(target, info.sha))


def _tree(target: _Target, commit: str | None) -> dict[str, HubFile]:
    entries = target.api.list_repo_tree(target.repo, recursive=True, revision=commit, repo_type="dataset")
    return {
        entry.path: HubFile(entry.size, entry.blob_id)
        if entry.lfs is None
        else HubFile(entry.lfs.size, entry.blob_id, entry.lfs.sha256)
        for entry in entries
        if isinstance(entry, RepoFile)
    }


def _visibility(target: _Target, seen: _Seen) -> bool:
    if target.private and not seen.private:
        raise UsageError(
            f"the dataset {target.repo} is public, and this release was to be private",
            "publish with --public, or make it private in its settings on the Hub, or choose another --repo",
        )
    return seen.private


def _difference(target: _Target, files: Mapping[str, Path], seen: _Seen) -> Difference:
    listed: list[str] | None = None
    stale = [name for name in seen.files if name not in files and not hidden(name)]
    if stale and _released_before(target, seen):
        in_data = [name for name in stale if name.startswith("data/")]
        listed = listed_in(_read_sums(target, seen)) if SUMS in seen.files else in_data
    return compare(files, seen.files, listed)


def _released_before(target: _Target, seen: _Seen) -> bool:
    commits = target.api.list_repo_commits(target.repo, repo_type="dataset", revision=seen.head)
    return any(commit.title.startswith(_TITLE) for commit in commits)


def _read_sums(target: _Target, seen: _Seen) -> str:
    with tempfile.TemporaryDirectory() as folder:  # the user's cache is not for our bookkeeping
        path = target.api.hf_hub_download(target.repo, SUMS, repo_type="dataset", revision=seen.head, local_dir=folder)
        return Path(path).read_text(encoding="utf-8", errors="replace")


def _commit(
    target: _Target, files: Mapping[str, Path], difference: Difference, parent: str | None
) -> tuple[str, tuple[str, ...]]:
    """Make the commit; its id, and what the Hub remarked."""
    new = [CommitOperationAdd(change.path, files[change.path]) for change in (*difference.added, *difference.changed)]
    gone = [CommitOperationDelete(change.path, is_folder=False) for change in difference.deleted]
    with warnings.catch_warnings(record=True) as remarks:
        warnings.simplefilter("always")
        made = target.api.create_commit(
            target.repo,
            [*new, *gone],
            commit_message=_TITLE + difference.counts(),
            repo_type="dataset",
            parent_commit=parent,
        )
    notes = [" ".join(str(remark.message).split()) for remark in remarks if remark.category is UserWarning]
    return made.oid, (*notes, *_read_back(target, files, made.oid))


def _read_back(target: _Target, files: Mapping[str, Path], commit: str) -> list[str]:
    """Compare with what was committed: a .gitignore in the repository makes the Hub drop files without a word."""
    try:
        rest = compare(files, _tree(target, commit), None)
    except FAILURES as error:
        return [f"the commit was made but could not be read back: {sentence(error, target.call).message}"]
    missing = [change.path for change in (*rest.added, *rest.changed)]
    if missing:
        raise SeedmillError(
            f"the commit {commit[:12]} lacks {', '.join(missing[:5])}{' and more' if len(missing) > 5 else ''}",
            f"see whether a .gitignore in {target.url} names them, mend it there and publish again",
        )
    return []


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
    token = _token()
    api = _api(token)
    call = Call(what=f"model {place.id}", endpoint=api.endpoint, token=token)
    try:
        with _quiet():
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
    token = _token()
    api = _api(token)
    call = Call(what=f"dataset {place.id}", endpoint=api.endpoint, token=token)
    wanted = place.path_in_repo or ""
    try:
        with _quiet():
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


def _no_such_file(uri: str, listed: list[str]) -> DataError:
    shown = ", ".join(name for name in listed if name != ".gitattributes")[:300]
    return DataError(f"{uri}: no such file", f"the dataset has {shown}" if shown else "the dataset is empty")


def _offered(api: HfApi, repo: str) -> str:
    try:
        names = [name for name in api.list_repo_files(repo) if name.endswith(".gguf")]
    except FAILURES:
        names = []
    return f"it has {', '.join(names[:8])}" if names else "see the repository's list of files for one in .gguf"


def _check_name(repo: str) -> None:
    hint = "write USER/NAME, as in alice/my-data"
    try:
        validate_repo_id(repo)
    except HFValidationError:
        raise UsageError(f"'{repo}' cannot be the name of a dataset on the Hub", hint) from None
    if "/" not in repo:
        raise UsageError(f"'{repo}' does not say whose dataset it is", hint)


def _api(token: str | None) -> HfApi:
    endpoint = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
    if not re.match(r"https?://[^/\s]", endpoint):
        raise UsageError(f"HF_ENDPOINT is '{endpoint}', which is no address", "set it to https://HOST, or unset it")
    return HfApi(endpoint=endpoint, token=token or False, library_name="seedmill")


def _token() -> str | None:
    try:
        return get_token()
    except OIDCError as error:
        raise UsageError(f"HF_OIDC_RESOURCE is set, but brings no token: {error}", TOKEN_HINT) from None


def _quiet() -> AbstractContextManager[object]:
    """No progress bars where nobody looks."""
    return nullcontext() if sys.stderr.isatty() else disable_progress_bars()
