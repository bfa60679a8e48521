"""Replies that hold nothing to work with."""

from pipeline.llm.request import Reply


def unusable(reply: Reply) -> str | None:
    """Why a reply that should have held a task is of no use, as a drop's reason, or None.

    `truncated` (cut off at max_tokens; a list is good up to its last piece), `content-filter`, `refused` (by the
    server, for this very input) or `empty-reply`.
    """
    reasons = {"length": "truncated", "content_filter": "content-filter", "refused": "refused"}
    if reply.outcome in reasons:
        return reasons[reply.outcome]
    return None if reply.text.strip() else "empty-reply"
