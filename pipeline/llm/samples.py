"""Several replies to one question: in one call where the server makes them so, else in a call each."""

from collections.abc import Generator
from dataclasses import replace

from pipeline.llm.request import Profile, Reply, Request


def several(request: Request, count: int, profile: Profile) -> Generator[Request, Reply, tuple[Reply, ...]]:
    """Ask `request` for `count` samples, as a part of a flow.

    A server that takes `n` is asked for as many as it makes at once, so that the prompt is paid once; others, and those
    that take `n` and ignore it, are asked again with the next sample index. So how the calls are cut depends on the
    server; what is asked of one that takes no `n` is what one sample more of the same question would be, and is reused.

    Args:
        request: with the index of the first sample; its temperature should not be 0.
        count: how many, at least 1.
        profile: of the model in the request's role.

    Returns:
        The samples in order, `count` of them unless the server refuses the question (`refused`), as it would each time:
        that one is then the last. Samples of one call have one key, and the first of them has the tokens of all.
    """
    samples: list[Reply] = []
    while len(samples) < count:
        wanted = min(profile.samples, count - len(samples))
        reply = yield replace(request, sample=request.sample + len(samples), samples=wanted)
        samples += (reply, *reply.others)[:wanted]
        if reply.outcome == "refused":
            break
    return tuple(samples)
