"""The Hugging Face Hub: an export folder goes there as one commit, a model file comes from there."""

import json
import os
import re
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read at import, and on unless somebody says so

import httpx2
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    get_token,
    hf_hub_download,
    parse_hf_uri,
)
from huggingface_hub.errors import (
    HfHubHTTPError,
    HfUriError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    OIDCError,
)
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, validate_repo_id

from pipeline.errors import DataError, SeedmillError, UsageError
from pipeline.leaks import held_secrets, refuse_leaks
from pipeline.release import SUMS, Difference, HubFile, Published, compare, listed_in, local_files

TRIES = 5
_TIMEOUT_S = 15.0
_LONGEST_WAIT_S = 300.0
"""The Hub counts requests in windows of five minutes (hub-docs rate-limits.md)."""

_TRANSIENT = (408, 412, 429, 500, 502, 503, 504)
"""412 is the Hub's answer when somebody else's commit came between our look and ours."""

_TITLE = "seedmill: "
"""How our commits begin; a repository without one holds nothing of ours that could be deleted."""

_FAILURES = (httpx2.HTTPError, OfflineModeIsEnabled, OSError, RuntimeError, ValueError)
"""What huggingface_hub raises for foreseeable reasons; an upload's HTTP error comes wrapped in a RuntimeError."""

_TOKEN_HINT = "log in with 'hf auth login', or set HF_TOKEN to a token with write access (hf.co/settings/tokens)"


@dataclass(frozen=True, kw_only=True)
class _Target:
    """Where a release goes, and as whom."""

    api: HfApi
    repo: str
    private: bool
    token: str | None = field(repr=False)

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

    Hidden files and the exporter's manifest.json stay here. Deleted is only what an earlier release of ours left:
    files under data/ and files that its SHA256SUMS lists. HF_ENDPOINT is read at the call.

    Args:
        repo: `user/name`; made when it is not there.
        private: how it is made; a public one is refused, so that nothing becomes public by omission.
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
        raise UsageError("there is no Hugging Face token to publish with", _TOKEN_HINT)
    if not allow_secrets:
        refuse_leaks(files, held_secrets(token))
    api = HfApi(endpoint=_endpoint(), token=token or False, library_name="seedmill")
    target = _Target(api=api, repo=repo, private=private, token=token)
    with _quiet():
        return _rehearse(target, files) if dry_run else _publish(target, files, sleep)


def _rehearse(target: _Target, files: Mapping[str, Path]) -> Published:
    hub: Literal["there", "absent", "unreachable"] = "there"
    why, seen = None, None
    try:
        seen = _look(target)
        if seen is None:
            hub, why = "absent", f"the Hub has no dataset {target.repo}, or none that you may see"
    except _FAILURES as error:
        if not _worth_another_try(error):
            raise _sentence(error, target) from None
        hub, why = "unreachable", _sentence(error, target).message
    return Published(
        repo=target.repo,
        url=target.url,
        hub=hub,
        why=why,
        private=target.private if seen is None else _visibility(target, seen),
        dry_run=True,
        difference=compare(files, {}, None) if seen is None else _difference(target, files, seen),
    )


def _publish(target: _Target, files: Mapping[str, Path], sleep: Callable[[float], None]) -> Published:
    """Look, compare, commit; every try looks again, so a commit whose reply was lost is not made twice."""
    for attempt in range(TRIES):
        try:
            return _attempt(target, files)
        except _FAILURES as error:
            if attempt == TRIES - 1 or not _worth_another_try(error):
                raise _sentence(error, target) from None
            sleep(_wait(error, attempt))
    raise AssertionError("unreachable")


def _attempt(target: _Target, files: Mapping[str, Path]) -> Published:
    seen = _look(target)
    if seen is None:
        target.api.create_repo(target.repo, repo_type="dataset", private=target.private, exist_ok=True)
        seen = _look(target)
        if seen is None:
            raise UsageError(f"the Hub made {target.repo} but does not show it to this token", _TOKEN_HINT)
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
    """The repository's files at its newest commit; None when there is none (or none that this token may see)."""
    try:
        info = target.api.dataset_info(target.repo, timeout=_TIMEOUT_S)
    except HfHubHTTPError as error:
        if error.response.status_code == 404 or (error.response.status_code == 401 and target.token is None):
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
    if any(name not in files for name in seen.files) and _released_before(target, seen):
        listed = listed_in(_read_sums(target, seen)) if SUMS in seen.files else []
    return compare(files, seen.files, listed)


def _released_before(target: _Target, seen: _Seen) -> bool:
    commits = target.api.list_repo_commits(target.repo, repo_type="dataset", revision=seen.head)
    return any(commit.title.startswith(_TITLE) for commit in commits)


def _read_sums(target: _Target, seen: _Seen) -> str:
    with tempfile.TemporaryDirectory() as folder:  # the user's cache is not for our bookkeeping
        path = target.api.hf_hub_download(
            target.repo, SUMS, repo_type="dataset", revision=seen.head, local_dir=folder
        )
        return Path(path).read_text(encoding="utf-8", errors="replace")


def _commit(
    target: _Target, files: Mapping[str, Path], difference: Difference, parent: str | None
) -> tuple[str, tuple[str, ...]]:
    """Make the commit; its id, and what the Hub had to remark."""
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
    return made.oid, (*notes, *_left_out(target, files, made.oid))


def _left_out(target: _Target, files: Mapping[str, Path], commit: str) -> list[str]:
    """Read the commit back: a .gitignore in the repository makes the Hub drop files without a word."""
    try:
        there = _tree(target, commit)
    except _FAILURES as error:
        return [f"the commit was made but could not be read back: {_sentence(error, target).message}"]
    rest = compare(files, there, None)
    missing = [change.path for change in (*rest.added, *rest.changed)]
    if missing:
        raise SeedmillError(
            f"the commit {commit[:12]} lacks {', '.join(missing[:5])}{' and more' if len(missing) > 5 else ''}",
            f"does a .gitignore in {target.url} name them? mend it there, then publish again",
        )
    return []


def _worth_another_try(error: BaseException) -> bool:
    status = _response(error)
    if status is not None:
        return status.status_code in _TRANSIENT
    # A gateway's HTML page where huggingface_hub expects JSON ends in a JSONDecodeError.
    return any(isinstance(e, httpx2.TransportError | OfflineModeIsEnabled | json.JSONDecodeError) for e in _chain(error))


def _wait(error: BaseException, attempt: int) -> float:
    """Seconds to wait: what the Hub asks for, else 1, 2, 4, 8."""
    response = _response(error)
    asked = "" if response is None else response.headers.get("Retry-After", "")
    return min(float(asked), _LONGEST_WAIT_S) if asked.isdigit() else float(2**attempt)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _response(error: BaseException) -> httpx2.Response | None:
    return next((e.response for e in _chain(error) if isinstance(e, HfHubHTTPError)), None)


def _sentence(error: BaseException, target: _Target) -> SeedmillError:
    """The error in our words. Never str() of an HTTP error: it has the URL, which may be signed."""
    response, where = _response(error), target.api.endpoint
    if response is None:
        if _worth_another_try(error):
            return _out_of_reach(error, where)
        if "metadata in README.md" in str(error):
            return DataError(f"the Hub refuses the card's metadata: {_said(error)}", "mend README.md's first block")
        return SeedmillError(f"publishing to {target.repo} failed: {_clean(str(error), target)}", "try again")
    status, said = response.status_code, _clean(_said(error), target)
    if status == 401:
        return UsageError(f"the Hub at {where} does not accept the token", _TOKEN_HINT)
    if status == 403:
        hint = f"use a token with write access to '{target.repo.split('/')[0]}', or publish under your own name"
        return UsageError(f"the token may not write to the dataset {target.repo}{said}", hint)
    if status in _TRANSIENT:
        what = "somebody else keeps changing the dataset" if status == 412 else f"answers with {status}{said}"
        return SeedmillError(f"the Hub at {where}: {what}", "try again later; nothing is uploaded twice")
    return SeedmillError(f"the Hub refuses the release of {target.repo} with {status}{said}", f"look at {target.url}")


def _out_of_reach(error: BaseException, where: str) -> SeedmillError:
    if any(isinstance(e, OfflineModeIsEnabled) for e in _chain(error)):
        return SeedmillError(f"the Hub at {where} may not be asked: HF_HUB_OFFLINE is set", "unset it")
    reason = next((str(e) for e in _chain(error) if isinstance(e, httpx2.TransportError)), "it sends no JSON")
    return SeedmillError(
        f"the Hub at {where} cannot be reached: {reason or 'no answer in time'}",
        "check the connection, HTTPS_PROXY and HF_ENDPOINT",
    )


def _said(error: BaseException) -> str:
    """What the server said, if anything, as the end of a sentence."""
    said = next((e.server_message for e in _chain(error) if isinstance(e, HfHubHTTPError)), None)
    return f": {' '.join(said.split())[:300]}" if said else ""


def _clean(text: str, target: _Target) -> str:
    text = text if target.token is None else text.replace(target.token, "***")
    return re.sub(r"hf_[A-Za-z0-9]{8,}", "hf_***", text)


def _check_name(repo: str) -> None:
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise UsageError(f"'{repo}' is no name of a dataset: {error}", "write USER/NAME, as in alice/my-data") from None
    if "/" not in repo:
        raise UsageError(f"'{repo}' does not say whose dataset it is", "write USER/NAME, as in alice/my-data")


def _endpoint() -> str:
    endpoint = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
    if not re.match(r"https?://[^/\s]", endpoint):
        raise UsageError(f"HF_ENDPOINT is '{endpoint}', which is no address", "set it to https://HOST, or unset it")
    return endpoint


def _token() -> str | None:
    try:
        return get_token()
    except OIDCError as error:
        raise UsageError(f"HF_OIDC_RESOURCE is set, but there is no token from it: {error}", _TOKEN_HINT) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars where nobody looks."""
    if sys.stderr.isatty() or are_progress_bars_disabled():
        yield
        return
    with disable_progress_bars():
        yield
