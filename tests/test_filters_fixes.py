"""Each fix mends what it names, and leaves alone what only looks like it."""

import polars as pl
import pytest

from filters.fixes import FIXES

MENDED: dict[str, list[tuple[str, str]]] = {
    "control-characters": [
        ("one\u200btwo", "onetwo"),
        ("门口站\u200b\u200b着", "门口站着"),
        ("a\u00a0b\r\nc\rd\u2028e", "a b\nc\nd\ne"),
        ("bell\x07 and \x00nul", "bell and nul"),
        ("hers all along â\x80\x94 and", "hers all along — and"),
        ("so \\(\x0crac{1}{2}\\)", "so \\(\\frac{1}{2}\\)"),
        ("\x08egin{array}", "\\begin{array}"),
        ("\ufeff开头", "开头"),
    ],
    "literal-escapes": [
        (r"It is near the border.\n\nQuestion: where?", "It is near the border.\n\nQuestion: where?"),
        (r"第一步：打蛋。\n第二步：下锅。", "第一步：打蛋。\n第二步：下锅。"),
        (r"Milk:\n\t- one litre", "Milk:\n\t- one litre"),
    ],
    "html-entities": [
        ("while a &lt;= b &amp;&amp; c &gt; 0", "while a <= b && c > 0"),
        ("“it&#39;s raining”就是下大雨", "“it's raining”就是下大雨"),
        ("R&amp;B &quot;hits&quot;&nbsp;here", 'R&B "hits" here'),
        ("&amp;lt;", "&lt;"),
    ],
    "stop-markers": [
        ("It is Lyon.<|endoftext|>", "It is Lyon."),
        ("It is Lyon. </s>", "It is Lyon."),
        ("是里昂。<|im_end|>\n", "是里昂。"),
        ("A story ends.\n##", "A story ends."),
        ("A story ends.\n\n###\n", "A story ends."),
        ("42<|eot_id|>", "42"),
        ("A list\n<|end|>\n<|im_end|>", "A list"),
        ("</s>", ""),
    ],
    "no-input-marker": [
        (text, "")
        for text in (
            "No input",
            "noinput",
            "<no input>",
            "No Input.",
            "[noinput]",
            "<noinput",
            "<无输入>",
            "（无输入）",
            "无输入",
        )
    ],
    "no-input-phrase": [
        (text, "")
        for text in (
            '"<noinput>"',
            "No input required.",
            "`<noinput>`",
            "< noinput >",
            "N/A",
            "<N/A>",
            "无需任何输入",
            "不适用",
        )
    ],
    "output-label": [
        ("Output: 4", "4"),
        ("输出：14", "14"),
        ("<noinput>\nOutput:\nI will remember.", "I will remember."),
        ("<noinput>\nA Leap of Faith", "A Leap of Faith"),
        ("<无输入>\n《信仰的飞跃》", "《信仰的飞跃》"),
    ],
    "whitespace": [
        ("  yes \n", "yes"),
        ("\n\n    def f():\n        pass\n", "    def f():\n        pass"),
        ("　　春天来了。　", "春天来了。"),
        ("找出夸张的例子。 ", "找出夸张的例子。"),
    ],
}

UNTOUCHED: dict[str, list[str]] = {
    "control-characters": [
        "👩\u200d👩\u200d👧 family",
        "می\u200cخواهم",
        "tab\there\nline",
        "全角　空格",
        "naïve café “quoted”",
    ],
    "literal-escapes": [
        r"Use \n to start a new line.",
        r'printf("Hello.\n");',
        r"$\frac{4}{3}.\nabla$",
        "real line.\nwith a literal \\n too",
        r"换行符写作 \n。\n 表示换行",
        r"C:\new.\names",
        "nothing here",
    ],
    "html-entities": [
        "<p>Fish &amp; chips</p>",
        "Write `&lt;` for the sign.",
        "The entity &copy; stands for a sign.",
        "用 &lt; 转义小于号",
        "AT&T; and fish & chips",
    ],
    "stop-markers": [
        "The end token is <|endoftext|>",
        "<s>old price</s>",
        "Use `</s>` to close.",
        "# Title\ntext",
        "C#",
    ],
    "no-input-marker": [
        "The boy <noinput> the ball",
        "Joe Smith \n<noinput>",
        "[3, 4, <noinput>]",
        "No input devices found",
        "无",
    ],
    "no-input-phrase": ["No input required by the API", "N/A is a value", "None", "", "输入为空"],
    "output-label": [
        "Input: 3\nOutput: 9",
        "Outputs: none",
        "The output: 9",
        "输出结果是 9",
        "Output:",
        "print('Output: 4')",
    ],
    "whitespace": ["yes", "a\n\n  b", "    first\n    second", "　　甲\n　　乙"],
}


def mended(name: str, texts: list[str]) -> list[str]:
    return pl.DataFrame({"text": texts}).select(FIXES[name].mend(pl.col("text"))).to_series().to_list()


@pytest.mark.parametrize("name", FIXES)
def test_mends_what_it_names(name: str) -> None:
    before, after = zip(*MENDED[name], strict=True)
    assert mended(name, list(before)) == list(after)


@pytest.mark.parametrize("name", FIXES)
def test_leaves_the_rest_alone(name: str) -> None:
    assert mended(name, UNTOUCHED[name]) == UNTOUCHED[name]


@pytest.mark.parametrize("name", FIXES)
def test_null_stays_null_and_a_mended_text_stays_mended(name: str) -> None:
    if name == "html-entities":
        return  # undoes one layer at a time, on purpose
    after = mended(name, [text for _, text in MENDED[name]])
    assert after == [text for _, text in MENDED[name]]
    assert pl.DataFrame({"text": [None]}, schema={"text": pl.String}).select(
        FIXES[name].mend(pl.col("text"))
    ).to_series().to_list() == [None]
