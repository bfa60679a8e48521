"""Lines that are program text although no fence says so, told by their shape alone."""

import re
from collections.abc import Iterator

_SURE = re.compile(
    r"""^\s*(?:
      (?:async\s+)?def\s+\w+\s*\(.*|class\s+\w+\s*(?:\([\w., ]*\))?:\s*$
    | (?:from\s+[\w.]+\s+import\s+[\w.*,(){}\s]+|import\s+[\w.]+(?:\s+as\s+\w+)?(?:,\s*[\w.]+)*);?\s*$
    | @\w[\w.]*(?:\(.*\))?\s*$
    | \#\s*include\s*[<"].*|\#\s*define\s+\w+.*|using\s+namespace\s+\w+;
    | (?:public|private|protected|static|final)\s+[\w<>\[\],\s]+[\w)]\s*[({;=].*
    | (?:function|func|fn)\s+\w+\s*\(.*|(?:var|let|const)\s+[\w{}\[\],\s]+=.*
    | SELECT\s.+\sFROM\s.*|SELECT\s+(?:DISTINCT\s+)?[\w.*,\s()]+$
    | INSERT\s+INTO\s.*|UPDATE\s+\w+\s+SET\s.*|DELETE\s+FROM\s.*
    | (?:CREATE|ALTER|DROP)\s+(?:TABLE|VIEW|DATABASE|INDEX)\s.*
    | <\?(?:php|xml)\b.*|<!DOCTYPE\s.*
    )""",
    re.VERBOSE,
)
"""One such line is enough."""

_LIKELY = re.compile(
    r"""^\s*(?:
      (?:if|elif|while|for|with|switch|catch|else\s+if)\b.*[()=<>\[\]].*[:{)]\s*$|for\s+\w+(?:,\s*\w+)*\s+in\s+\S+:\s*$
    | (?:else|try|finally|do)\s*[:{]\s*$|except\b[\w\s,.()]*:\s*$|(?:if|while|elif)\s+(?:not\s+)?[\w.]+:\s*$
    | return(?:\s+-?[\w.]+(?:\s*[-+*/%,]\s*[\w.]+)*)?;?\s*$|return\s.*[(\["'{].*[)\]}"';]\s*$
    | (?:break|continue);?\s*$|pass\s*$
    | [A-Za-z_$][\w.$]*(?:\[[^\]]*\])?\s*(?:=|\+=|-=|\*=|/=|:=)\s*
        (?:["'\[({].*|[\w.$]+[(\[].*|-?[\w.]+(?:\s*[-+*/%]\s*[\w.()]+)*;?\s*$)
    | [A-Za-z_$][\w.$]*\(.*\)\s*[;:{]?\s*$
    | (?:FROM|WHERE|GROUP\s+BY|ORDER\s+BY|HAVING|VALUES|LIMIT|ON|(?:LEFT|RIGHT|INNER|OUTER)\s+JOIN|JOIN)\s+[\w(`'"].*
    | (?:int|float|double|char|bool|boolean|String|void|long|auto)\s+[\w\[\]*&]+\s*[=;(,].*
    | (?:>>>|\$|sudo|pip\s+install|npm\s+install|git\s+(?:clone|add|commit|push|pull|checkout))\s+\S.*
    | \S.*[();=\]}]\s*[;{]\s*$
    )""",
    re.VERBOSE,
)
"""Two of them in one run are enough."""

LONGEST_LINE = 400
"""Longer lines are not looked at: minified code is a fence's business, and the patterns above cost more than linear."""

_COMMENT = re.compile(r"^\s*(?:#|//|/\*|--\s)")
_GOES_ON = re.compile(r"^\s*(?:[\])}{]+[;,)]*\s*$|end;?\s*$|[\"'\w]+\s*:\s*.*,\s*$|\}\s*(?:else|catch|finally)\b)")
"""Brackets and dictionary items: they belong to a run but do not make one."""


def code_runs(text: str) -> Iterator[tuple[int, int]]:
    """(start, end) of every run of lines that look like code, without the last line's break.

    A run holds one line that can only be code, or two that probably are; comments above it, indented lines that are no
    sentences, brackets and blank lines between its lines belong to it.
    """
    start = leading = -1
    end = weight = at = 0
    for line in text.splitlines(keepends=True):
        body = line.rstrip()
        gain = _weight(body)
        comment = _COMMENT.match(body) is not None
        if gain:
            start = start if start >= 0 else leading if leading >= 0 else at
            weight, end = weight + gain, at + len(body)
        elif start >= 0 and body and not comment and _belongs(body):
            end = at + len(body)
        elif body and not comment:
            if weight > 1:
                yield start, end
            start, weight = -1, 0
        leading = at if comment and leading < 0 else leading if comment else -1
        at += len(line)
    if weight > 1:
        yield start, end


def _weight(line: str) -> int:
    """2 for a line that can only be code, 1 for one that probably is."""
    if len(line) > LONGEST_LINE:
        return 0
    if _SURE.match(line):
        return 2
    return int(_LIKELY.match(line) is not None and not _is_sentence(line))


def _belongs(line: str) -> bool:
    """Whether a line inside a run goes on with it."""
    if len(line) > LONGEST_LINE:
        return False
    return _GOES_ON.match(line) is not None or (line[:1] in " \t" and not _is_sentence(line))


def _is_sentence(line: str) -> bool:
    """Six words in a row, or four Han characters, outside quotes and comments."""
    bare = re.sub(r"\"[^\"]*\"|'[^']*'|(?://|#|--).*", "", line)
    return re.search(r"(?:\b[A-Za-z]+,? ){5}[A-Za-z]+\b|[\u3400-\u9fff]{4}", bare) is not None
