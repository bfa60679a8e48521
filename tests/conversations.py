"""Conversations for property tests: texts, turns and records of every kind, and marks of formats inside of texts."""

from hypothesis import strategies as st

from pipeline.formats.json_text import dumps
from pipeline.record import Message, Record

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SOME = TEXT.filter(bool)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)
EXTRA = st.dictionaries(st.sampled_from(["id", "meta", "source_url", "重要"]), JSON, max_size=2).map(
    lambda found: dumps(found) if found else None
)
TAGS = st.dictionaries(st.sampled_from(["category", "topic", "difficulty"]), TEXT, max_size=2)
TOOLS = st.none() | st.lists(st.dictionaries(TEXT, JSON, max_size=2), max_size=2).map(dumps)
LABEL = st.none() | st.booleans()


def message(role: str, **parts: st.SearchStrategy[object]) -> st.SearchStrategy[Message]:
    return st.builds(Message, role=st.just(role), **{"content": TEXT, **parts})


CALL = st.builds(lambda name, found: {"name": name, "arguments": found}, TEXT, st.one_of(TEXT, JSON.map(dumps)))
BARE = st.lists(CALL, min_size=1, max_size=2).map(
    lambda calls: dumps([{"type": "function", "function": c} for c in calls])
)
CALL_TURN = message("assistant", content=st.just(""), tool_calls=BARE)
PLAIN_TURN = st.one_of(*map(message, ("system", "user", "assistant", "tool")), CALL_TURN)
RICH_TURN = st.one_of(
    *(
        message(
            role,
            thinking=st.none() | TEXT,
            tool_calls=st.none() | BARE,
            tool_call_id=st.none() | TEXT,
            name=st.none() | TEXT,
            weight=st.none() | st.sampled_from([0.0, 0.25, 1.0]),
        )
        for role in ("system", "user", "assistant", "tool")
    )
)


@st.composite
def chat_records(draw: st.DrawFn, turns: st.SearchStrategy[Message], choices: int) -> Record:
    one = st.lists(turns, min_size=1, max_size=choices).map(tuple)
    choice = draw(st.none() | st.tuples(one, one))
    return Record(
        id="x",
        messages=tuple(draw(st.lists(turns, min_size=1, max_size=4))),
        tools=draw(TOOLS),
        chosen=choice and choice[0],
        rejected=choice and choice[1],
        label=draw(LABEL),
        tags=draw(TAGS),
        extra=draw(EXTRA),
    )
