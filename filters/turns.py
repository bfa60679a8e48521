"""The answers of a record, one row each: what makes a rule written for a single turn hold for conversations."""

import polars as pl


def turns(viewed: pl.DataFrame) -> pl.DataFrame:
    """One row per answer with the question it answers; at least one row per record.

    Takes `view`'s columns and a `row` number. Answers are the assistant's messages and, for preference data, the
    chosen one; `rejected` is never looked at, since it is there to be bad. A question without an answer counts as a
    row only when nothing follows it.

    Returns:
        Columns `row`; `turn` (0 for the first question); `turns` (rows of this record); `final` (whether it is the
        last of them); `instruction` (the user's message); `input` (only in turn 0, else ""); `output`; `tooled`
        (whether the record defines tools); `excused` (an answer whose text is not to be judged: a tool call without
        words, or one that is labelled bad). No text is null.
    """
    flat = _messages(viewed)
    asked = pl.col("role").eq_missing("user")
    first = pl.col("row").ne_missing(pl.col("row").shift(1))
    last = pl.col("row").ne_missing(pl.col("row").shift(-1))
    answered = pl.col("role").eq_missing("assistant")
    before = asked.cast(pl.Int32).cum_sum() - asked.cast(pl.Int32)
    flat = flat.with_columns(
        question=pl.when(asked).then(pl.col("content")).forward_fill(),
        question_row=pl.when(asked).then(pl.col("row")).forward_fill(),
        turn=(before + asked.cast(pl.Int32) - pl.when(first).then(before).forward_fill() - 1).clip(0),
        bad=last & answered & pl.col("label").eq_missing(False),
    )
    rows = flat.filter(answered | last)
    last = pl.col("row").ne_missing(pl.col("row").shift(-1))
    return rows.select(
        "row",
        "turn",
        turns=pl.len().over("row"),
        final=last,
        instruction=pl.when(pl.col("question_row") == pl.col("row")).then(pl.col("question")).fill_null(""),
        input=pl.when(pl.col("turn") == 0).then(pl.col("input")).fill_null(""),
        output=pl.when(answered & ~pl.col("bad")).then(pl.col("content")).fill_null(""),
        tooled=pl.col("tools").is_not_null(),
        excused=pl.col("bad") | answered & pl.col("called") & (pl.col("content").str.strip_chars() == ""),
    )


def _messages(viewed: pl.DataFrame) -> pl.DataFrame:
    """One row per message, the chosen answer last; a record without any has one row without a role."""
    none = pl.lit([], dtype=viewed.schema["messages"])
    messages = pl.col("messages").fill_null(none)
    if viewed["chosen"].null_count() < viewed.height:
        messages = pl.concat_list(messages, pl.col("chosen").fill_null(none))
    return (
        viewed.select("row", "input", "label", "tools", message=messages)
        .explode("message")
        .select(
            "row",
            "input",
            "label",
            "tools",
            role=pl.col("message").struct["role"],
            content=pl.col("message").struct["content"].fill_null(""),
            called=pl.col("message").struct["tool_calls"].is_not_null(),
        )
    )
