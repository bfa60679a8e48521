"""Bodies of embeddings and moderations, deterministic and with some sense: like texts get like vectors."""

import base64
import math
import re
import zlib
from array import array
from typing import Any

from pipeline.llm.fake import tokens
from pipeline.llm.fake.completion import Usage
from pipeline.llm.fake.question import Objection, Question
from pipeline.llm.fake.script import Script

DIMENSIONS = 64

CATEGORIES = (
    *("harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent"),
    *(
        "self-harm",
        "self-harm/instructions",
        "self-harm/intent",
        "sexual",
        "sexual/minors",
        "violence",
        "violence/graphic",
    ),
)

_FEATURE = re.compile(r"[^\W\u3400-\u9fff]+|[\u3400-\u9fff](?=([\u3400-\u9fff]?))")


def embed(question: Question) -> tuple[dict[str, Any], Usage]:
    """The body of a 200 of /v1/embeddings: feature-hashed words (Chinese: pairs of characters), of length 1."""
    size = DIMENSIONS if question.body.get("dimensions") is None else question.body["dimensions"]
    if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= 4096:
        raise Objection(400, "'dimensions' must be a whole number from 1 to 4096", param="dimensions")
    texts = _texts(question)
    vectors = [_vector(text, size) for text in texts]
    coded: list[Any] = [v.tolist() for v in vectors]
    if question.body.get("encoding_format") == "base64":
        coded = [base64.b64encode(v.tobytes()).decode() for v in vectors]
    prompt_tokens = sum(tokens.count(text) for text in texts)
    data = [{"object": "embedding", "index": i, "embedding": value} for i, value in enumerate(coded)]
    usage = {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens}
    return {"object": "list", "model": question.model, "data": data, "usage": usage}, Usage(prompt=prompt_tokens)


def moderate(script: Script, question: Question) -> tuple[dict[str, Any], Usage]:
    """The body of a 200 of /v1/moderations: flagged where the script's expressions match."""
    results = []
    for text in _texts(question):
        flagged = {category for category, pattern in script.moderation if pattern.search(text)}
        noise = zlib.crc32(text.encode("utf-8", "replace"))
        scores = {c: 0.95 if c in flagged else (zlib.crc32(c.encode(), noise) % 1000) / 1e5 for c in CATEGORIES}
        results.append(
            {
                "flagged": bool(flagged),
                "categories": {c: c in flagged for c in CATEGORIES},
                "category_scores": scores,
                "category_applied_input_types": {c: ["text"] for c in CATEGORIES},
            }
        )
    return {"id": f"modr-{question.key}", "model": question.model, "results": results}, Usage()


def _texts(question: Question) -> list[str]:
    source = question.body["input"]
    return [source] if isinstance(source, str) else list(source)


def _vector(text: str, size: int) -> "array[float]":
    values = [0.0] * size
    for match in _FEATURE.finditer(text.lower()):
        code = zlib.crc32((match[0] + (match[1] or "")).encode("utf-8", "replace"))
        values[(code >> 1) % size] += 1.0 if code & 1 else -1.0
    length = math.sqrt(sum(v * v for v in values))
    return array("f", [v / length for v in values] if length else [1.0] + [0.0] * (size - 1))
