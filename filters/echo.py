"""One text standing where another should: answers and inputs that repeat the question."""

import polars as pl

from filters.check import Check, any_of

_CONTENT = pl.element().struct["content"]

MAY_STAY = "(?i)" + any_of(
    r"\b(?:correct|fix|proofread|spell|mistakes?|errors?|grammar|grammatical(?:ly)?|typos?|punctuat\w*|if (?:needed|"
    r"necessary|any)|edit|revise|"
    r"improve|clean|valid(?:ate)?|capitali[sz]\w*|format|convert|transform|remove (?:the |any |all )?(?:duplicates?|"
    r"extra|unnecessary))\b",
    r"\b(?:sort|order|arrange|rearrange|rank|organi[sz]e|sequence|group|classify|categori[sz]e|match|pair|label|tag|timeline|priorit\w+|"
    r"alphabeti\w+|minimi[sz]e|simplif\w+)\b",
    r"\b(?:identify|select|choose|pick|find|list|extract|name|spot|filter|take|output|print|display|fill|complete|form)\b",
    r"\b(?:copy|repeat|echo|recite|read|transcribe|transcript|type|paste|quote|cite|citation|say|speak|store|save|record|return|script)\b",
    r"\b(?:tense|participle|plural|singular|present|past|verb|adverb|adjective|article|comma|sentence|expression|equation|query|construct)\b"
    r"[^.]{0,40}$",
    r"\bspelling\b|\bBritish\b|\bAmerican English\b",
    r"排序|排列|顺序|整理|分类|归类|匹配|配对|对应|识别|找出|选择|选出|挑选|列出|提取|填写|抄写|复制|重复|复述|朗读|背诵|跟我|原样|输出|引用|格式|"
    r"病句|错别?字|语法|拼写|标点|纠正|更正|修正|改正|修复|校对|错误|如有|如果需要|必要|删除重复|去重|辨别|存储|保存|构造|组成|编辑|润色",
)
"""Tasks whose right answer may be the text as it is: nothing to correct, sorted already, to be copied."""

MUST_CHANGE = "(?i)" + any_of(
    r"\b(?:rewrite|rephrase|paraphrase|reword|translate|summari[sz]e|explain|describe|continue|expand|shorten|condense|elaborate)\b",
    r"\b(?:delete|deleted|remove) the\b|\bcircle\b|\bunderline\b|\bin the parentheses\b",
    r"\b(?:passive|active) (?:voice|form)|\binto (?:a )?(?:question|negative)\b|\bnegati(?:ve|on)\b",
    r"\bfrom (?:the )?oldest\b",
    r"翻译|改写|重写|重述|概括|总结|摘要|解释|续写|扩写|缩写|改成|变成|改为|转换为|换成|替换|被动|否定|疑问|过去时|复数形式|罗马|反义|同义词",
)
"""Tasks that the text as it is does not do."""

_NOTHING = r"(?i)^\W*(?:n ?/ ?a|none|no ?input|not applicable|不适用|无|没有输入)\W*$"

_SEPARATORS = r"[\s\p{P}\p{S}]+"


def echo(min_chars: int = 12, strict: bool = False) -> tuple[Check, ...]:
    """Object when answer and input, answer and instruction, or instruction and input are the same text.

    Self-Instruct drops instances whose input equals the output; alpaca_data.json has 55, of which about forty are
    right: a list that was sorted already, a sentence without a mistake, a text to be read aloud. So an answer that is
    its input counts only where the instruction asks for something else. A short instruction may be answered in kind
    ("Hello" - "Hello"), hence `min_chars`. An input that says what the instruction says, in nearly the same words, is
    TigerBot's rule d. In preference data a chosen answer equal to the rejected one teaches nothing.

    Args:
        min_chars: instructions shorter than this may be repeated.
        strict: object to every answer that is its input, as Self-Instruct does.
    """
    instruction, input, output = (pl.col(name).str.strip_chars() for name in ("instruction", "input", "output"))
    long = instruction.str.len_chars() >= min_chars
    asked = pl.col("instruction")
    undone = asked.str.contains(MUST_CHANGE) | ~asked.str.contains(MAY_STAY) | output.str.contains(_NOTHING)
    return (
        Check(
            reason="output-is-input",
            field="output",
            when=(input != "") if strict else (input != "") & undone,
            value=pl.col("output"),
            gate=pl.col("output") == pl.col("input"),
        ),
        Check(
            reason="output-is-instruction",
            field="output",
            when=(instruction == output) & long,
            value=pl.col("output"),
        ),
        Check(
            reason="input-is-instruction",
            field="input",
            when=(instruction == input) & long | _nearly(instruction, input),
            value=pl.col("input"),
            gate=long & _about_as_long(instruction, input),
        ),
        _same_preference(),
    )


def _same_preference() -> Check:
    chosen, rejected = (pl.col(name).list.eval(_CONTENT).list.join("\n") for name in ("chosen", "rejected"))
    return Check(reason="chosen-is-rejected", field="chosen", when=chosen == rejected, value=chosen, scope="record")


def _about_as_long(one: pl.Expr, other: pl.Expr) -> pl.Expr:
    sizes = one.str.len_bytes().cast(pl.Int64), other.str.len_bytes().cast(pl.Int64)
    return (sizes[0] - sizes[1]).abs() * 5 <= pl.max_horizontal(sizes)


def _nearly(instruction: pl.Expr, input: pl.Expr) -> pl.Expr:
    """Whether two texts of at least 16 characters begin and end alike and differ in a tenth in between at most.

    Marks and spaces do not count. An instruction that quotes its input ends like it and begins otherwise.
    """
    plain = [text.str.to_lowercase().str.replace_all(_SEPARATORS, "") for text in (instruction, input)]
    sizes = [text.str.len_chars() for text in plain]
    longer, shorter = pl.max_horizontal(sizes), pl.min_horizontal(sizes)
    half = (shorter * 0.45).cast(pl.UInt32)
    framed = (plain[0].str.head(half) == plain[1].str.head(half)) & (plain[0].str.tail(half) == plain[1].str.tail(half))
    return (shorter >= 16) & (longer - shorter <= longer * 0.1) & framed
