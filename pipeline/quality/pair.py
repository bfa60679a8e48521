"""What a quality model reads of a record: the question, the final answer and their language."""

import polars as pl

from pipeline import signals


def pairs(block: pl.DataFrame) -> pl.DataFrame:
    """Columns id, question, answer and language of a frame of SCHEMA, none of them null.

    `question` is every turn before the final answer, and the input; `answer` is the final assistant message and the
    tool call it makes, or "". `language` is the record's primary tag, identified from both texts where it has none.
    """
    said, called = pl.element().struct["content"], pl.element().struct["tool_calls"]
    messages = pl.col("messages")
    answers = (messages.list.last().struct["role"] == "assistant").fill_null(False)
    before = messages.list.slice(0, (messages.list.len().cast(pl.Int64) - answers.cast(pl.Int64)).clip(0))
    final = messages.list.tail(1).list.eval(pl.concat_list(said, called).explode().drop_nulls())
    found = block.select(
        "id",
        question=pl.concat_str(
            before.list.eval(said).list.join("\n", ignore_nulls=True),
            pl.when(pl.col("input") != "").then("input"),
            separator="\n",
            ignore_nulls=True,
        ).fill_null(""),
        answer=pl.when(answers).then(final.list.join("\n").str.strip_chars()).fill_null(""),
        language=pl.col("language").str.split("-").list.first().fill_null(signals.UNKNOWN),
    )
    unknown = (found["language"] == signals.UNKNOWN).arg_true()
    if unknown.is_empty():
        return found
    texts = found[unknown].select(pl.concat_str("question", "answer", separator="\n")).to_series()
    named = found["language"].scatter(unknown, signals.identify(texts)["language"])
    return found.with_columns(language=named)
