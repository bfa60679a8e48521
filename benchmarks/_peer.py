"""One run of one peer, in an environment of its own: python benchmarks/_peer.py NAME URL IN_FLIGHT COUNT."""

import os
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from _questions import MAX_TOKENS, MODEL, Watch, check, question, report

WORK = Path(__file__).parent / ".work"

# Both report home unless told not to, and one has a page that it would open.
os.environ |= {"TELEMETRY_ENABLED": "false", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "1"}
os.environ |= {"CURATOR_VIEWER": "0", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}


def by_curator(url: str, in_flight: int, count: int) -> None:
    """Its `LLM` with the openai backend; its own start and its cache on disk, which is its ledger, are in the time."""
    from bespokelabs import curator

    with tempfile.TemporaryDirectory(prefix="curator-", dir=WORK) as folder:
        os.environ["CURATOR_CACHE_DIR"] = folder
        settings = {"base_url": url, "api_key": "none", "max_concurrent_requests": in_flight}
        settings |= {"max_requests_per_minute": 10_000_000, "max_tokens_per_minute": 10_000_000_000}
        settings |= {"invalid_finish_reasons": ["content_filter"]}
        llm = curator.LLM(
            model_name=MODEL, backend="openai", backend_params=settings, generation_params={"max_tokens": MAX_TOKENS}
        )
        with Watch() as watch:
            answered = llm([question(number) for number in range(count)])
        rows = getattr(answered, "dataset", answered)
        check([row["response"] for row in rows])
        report(watch, count, version=version("bespokelabs-curator"))


def by_distilabel(url: str, in_flight: int, count: int) -> None:
    """Its `OpenAILLM`, asked in batches, as its tasks do; it keeps nothing on disk at this level."""
    from distilabel.models.llms import OpenAILLM

    llm = OpenAILLM(model=MODEL, base_url=url, api_key="none", max_retries=0, timeout=300)
    llm.load()
    asked = [[{"role": "user", "content": question(number)}] for number in range(count)]
    with Watch() as watch:
        replies = []
        for start in range(0, count, in_flight):
            batch = llm.generate(inputs=asked[start : start + in_flight], max_new_tokens=MAX_TOKENS)
            replies += [one["generations"][0] for one in batch]
    check(replies)
    report(watch, count, version=version("distilabel"))


def main() -> None:
    name, url, in_flight, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    {"bespokelabs-curator": by_curator, "distilabel": by_distilabel}[name](url, in_flight, count)


if __name__ == "__main__":
    main()
