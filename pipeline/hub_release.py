"""Publishing: an export folder goes to the Hub as one commit or one pull request, with a tag if one is wished for."""

import os
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read at the import below, as in pipeline/hub.py

from huggingface_hub import CommitOperationAdd, CommitOperationDelete

from pipeline.errors import SeedmillError, UsageError
from pipeline.hub import api_for, check_name, quiet, token_in_use
from pipeline.hub_faults import FAILURES, TOKEN_HINT, Call, out_of_reach, sentence, wait_s, worth_another_try
from pipeline.hub_repo import TITLE, Seen, Target, look, open_request, read_sums, released_before, tags, tree
from pipeline.leaks import held_secrets, refuse_leaks
from pipeline.personal_data import personal_data
from pipeline.release import (
    SUMS,
    Difference,
    Published,
    check_sums,
    check_tag,
    compare,
    hidden,
    listed_in,
    local_files,
    next_version,
    would_stop,
)

T = TypeVar("T")

TRIES = 5


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """How a release is made.

    Attributes:
        private: how a repository that is not there is made; a public one that is there is refused, so that nothing
            gets public by omission.
        dry_run: only say what would change; needs neither token nor network.
        pull_request: propose it; a second time it goes to the same open pull request.
        tag: name of the version, or `auto` for the next `vN.M` whenever something has changed.
        allow_secrets, allow_personal: do not look for keys, or for personal data, in the files.
    """

    private: bool = True
    dry_run: bool = False
    pull_request: bool = False
    tag: str | None = None
    allow_secrets: bool = False
    allow_personal: bool = False


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """What has been found of the repository, and what is to be done to it.

    Attributes:
        request: number of the pull request that is added to, or None when there is none yet, or none is wished for.
        tag: the tag to be made; None when there is none to be made.
    """

    seen: Seen | None
    difference: Difference
    request: int | None = None
    tag: str | None = None


def publish_folder(
    folder: Path, repo: str, wishes: Wishes | None = None, *, sleep: Callable[[float], None] = time.sleep
) -> Published:
    """Make the dataset repository hold what the folder holds, in one commit, or in none when it does already.

    Large files go up first, each by itself, so that a publish that was killed uploads only what is missing; nothing is
    seen of them until the commit. Hidden files and the exporter's manifest.json stay here. Deleted is only what an
    earlier release of ours left: what its SHA256SUMS lists, or the files under data/ when it had none. HF_ENDPOINT is
    read at the call.

    Args:
        folder: an export.
        repo: `user/name`; made when it is not there.
        sleep: how to wait before another try.

    Raises:
        UsageError: malformed name, no token, no right, or a tag that names another version already.
        DataError: something looks like a secret or personal data, or a file is not what was exported, or the card's
            metadata is refused; nothing was uploaded.
        SeedmillError: the Hub was out of reach, or refused, for TRIES tries.
    """
    wishes = wishes or Wishes()
    check_name(repo)
    check_tag(wishes.tag, wishes.pull_request)
    files = local_files(folder)
    token = token_in_use()
    if token is None and not wishes.dry_run:
        raise UsageError("there is no Hugging Face token to publish with", TOKEN_HINT)
    check_sums(files)
    if not wishes.allow_secrets:
        refuse_leaks(files, held_secrets(token))
    personal = None if wishes.allow_personal else personal_data(files)
    if personal is not None and not wishes.dry_run:
        raise personal
    api = api_for(token)
    call = Call(what=f"dataset {repo}", endpoint=api.endpoint, token=token)
    target = Target(api=api, repo=repo, private=wishes.private, call=call)
    with quiet():
        if not wishes.dry_run:
            return _publish(target, files, wishes, sleep)
        rehearsed = _rehearse(target, files, wishes)
    return rehearsed if personal is None else replace(rehearsed, notes=(would_stop(personal),))


def _rehearse(target: Target, files: Mapping[str, Path], wishes: Wishes) -> Published:
    hub: Literal["there", "absent", "unreachable"] = "there"
    why = None
    try:
        plan = _plan(target, files, wishes)
        if plan.seen is None:
            hub, why = "absent", f"the Hub has no dataset {target.repo}, or none that you may see"
    except FAILURES as error:
        if not out_of_reach(error):
            raise sentence(error, target.call) from None
        hub, why = "unreachable", sentence(error, target.call).message
        plan = _Plan(seen=None, difference=compare(files, {}, None), tag=_wished_tag({}, wishes))
    return Published(
        repo=target.repo,
        url=target.url,
        hub=hub,
        why=why,
        private=target.private if plan.seen is None else _visibility(target, plan.seen),
        dry_run=True,
        difference=plan.difference,
        request=_request_name(wishes, plan.request),
        tag=plan.tag,
    )


def _publish(target: Target, files: Mapping[str, Path], wishes: Wishes, sleep: Callable[[float], None]) -> Published:
    """Commit, then tag. Every try looks again, so what was done although its reply was lost is not done twice."""
    plan, published = _tried(lambda: _attempt(target, files, wishes), target, sleep)
    commit = published.commit or (plan.seen.head if plan.seen is not None else None)
    if plan.tag is not None and commit is not None:
        name = plan.tag
        _tried(lambda: _make_tag(target, name, commit), target, sleep)
    return published


def _tried(function: Callable[[], T], target: Target, sleep: Callable[[float], None]) -> T:
    for attempt in range(TRIES):
        try:
            return function()
        except FAILURES as error:
            if attempt == TRIES - 1 or not worth_another_try(error):
                raise sentence(error, target.call) from None
            sleep(wait_s(error, attempt))
    raise AssertionError("the last try returns or raises")


def _make_tag(target: Target, name: str, commit: str) -> None:
    if tags(target).get(name) != commit:
        target.api.create_tag(target.repo, tag=name, revision=commit, repo_type="dataset")


def _attempt(target: Target, files: Mapping[str, Path], wishes: Wishes) -> tuple[_Plan, Published]:
    plan = _plan(target, files, wishes)
    if plan.seen is None:
        target.api.create_repo(target.repo, repo_type="dataset", private=target.private, exist_ok=True)
        plan = _plan(target, files, wishes)
        if plan.seen is None:
            raise UsageError(f"the Hub made {target.repo} but does not show it to this token", TOKEN_HINT)
    private = _visibility(target, plan.seen)
    commit, request, notes = None, plan.request, tuple[str, ...]()
    if not plan.difference.empty:
        commit, request, notes = _commit(target, files, plan, plan.seen.head, pull_request=wishes.pull_request)
    return plan, Published(
        repo=target.repo,
        url=target.url,
        hub="there",
        private=private,
        dry_run=False,
        difference=plan.difference,
        commit=commit,
        request=_request_name(wishes, request) if commit or request else None,
        tag=plan.tag,
        notes=notes,
    )


def _plan(target: Target, files: Mapping[str, Path], wishes: Wishes) -> _Plan:
    """What is there, and what must change."""
    seen, request = look(target), None
    if seen is None:
        return _Plan(seen=None, difference=compare(files, {}, None), tag=_wished_tag({}, wishes))
    _visibility(target, seen)
    if wishes.pull_request and (request := open_request(target)) is not None:
        seen = look(target, f"refs/pr/{request}") or seen
    difference = _difference(target, files, seen)
    tag = None if wishes.tag is None else _tag_to_make(target, seen, difference, wishes)
    return _Plan(seen=seen, difference=difference, request=request, tag=tag)


def _tag_to_make(target: Target, seen: Seen, difference: Difference, wishes: Wishes) -> str | None:
    """The tag that this release still needs; refused before anything is done when it names another version."""
    there = tags(target)
    is_tagged = difference.empty and seen.head in there.values()
    if wishes.tag == "auto":
        return None if is_tagged else next_version(there)
    if wishes.tag in there:
        if difference.empty and there[wishes.tag] == seen.head:
            return None
        raise UsageError(
            f"the tag {wishes.tag} of {target.repo} names another version already",
            f"name this one {next_version(there)}, or let it be counted with '--tag auto'; tags are never moved here",
        )
    return wishes.tag


def _wished_tag(there: Mapping[str, str], wishes: Wishes) -> str | None:
    return next_version(there) if wishes.tag == "auto" else wishes.tag


def _request_name(wishes: Wishes, number: int | None) -> str | None:
    if not wishes.pull_request:
        return None
    return "new" if number is None else f"refs/pr/{number}"


def _visibility(target: Target, seen: Seen) -> bool:
    if target.private and not seen.private:
        raise UsageError(
            f"the dataset {target.repo} is public, and this release was to be private",
            "publish with --public, or make it private in its settings on the Hub, or choose another --repo",
        )
    return seen.private


def _difference(target: Target, files: Mapping[str, Path], seen: Seen) -> Difference:
    listed: list[str] | None = None
    stale = [name for name in seen.files if name not in files and not hidden(name)]
    if stale and released_before(target, seen):
        in_data = [name for name in stale if name.startswith("data/")]
        listed = listed_in(read_sums(target, seen)) if SUMS in seen.files else in_data
    return compare(files, seen.files, listed)


def _commit(
    target: Target, files: Mapping[str, Path], plan: _Plan, parent: str | None, *, pull_request: bool
) -> tuple[str, int | None, tuple[str, ...]]:
    """Make the commit; its id, the number of its pull request, and what the Hub remarked."""
    found = plan.difference
    new = [CommitOperationAdd(change.path, files[change.path]) for change in (*found.added, *found.changed)]
    gone = [CommitOperationDelete(change.path, is_folder=False) for change in found.deleted]
    with warnings.catch_warnings(record=True) as remarks:
        warnings.simplefilter("always")
        made = target.api.create_commit(
            target.repo,
            [*new, *gone],
            commit_message=TITLE + found.counts(),
            repo_type="dataset",
            revision=None if plan.request is None else f"refs/pr/{plan.request}",
            create_pr=pull_request and plan.request is None,
            parent_commit=parent,
        )
    notes = [" ".join(str(remark.message).split()) for remark in remarks if remark.category is UserWarning]
    request = plan.request if made.pr_num is None else made.pr_num
    return made.oid, request, (*notes, *_read_back(target, files, made.oid))


def _read_back(target: Target, files: Mapping[str, Path], commit: str) -> list[str]:
    """Compare with what was committed: a .gitignore in the repository makes the Hub drop files without a word."""
    try:
        rest = compare(files, tree(target, commit), None)
    except FAILURES as error:
        return [f"the commit was made but could not be read back: {sentence(error, target.call).message}"]
    missing = [change.path for change in (*rest.added, *rest.changed)]
    if missing:
        raise SeedmillError(
            f"the commit {commit[:12]} lacks {', '.join(missing[:5])}{' and more' if len(missing) > 5 else ''}",
            f"see whether a .gitignore in {target.url} names them, mend it there and publish again",
        )
    return []
