"""Each fix mends what it names, and leaves alone what only looks like it."""

import polars as pl
import pytest

from filters.fixes import DEFAULT_FIXES, FIXES

KEY = "sk-" + "q7Rz" * 12
CITIZEN = "11010519491231" + "002X"
CARD = "4217 6539 0871 " + "2646"
ACCOUNT = "DE89 3704 0044 " + "0532 0130 00"

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
    "html-to-markdown": [
        ("<p>Use <strong>one</strong> of <em>two</em>.</p><p>Then stop.</p>", "Use **one** of *two*.\n\nThen stop."),
        (
            '<div class="prose"><p>Sort:</p><pre><div><span>python</span><button>Copy code</button><code>sorted(xs '
            "&lt; 3)\n"
            "</code></div></pre></div>",
            "Sort:\n\n```python\nsorted(xs < 3)\n```",
        ),
        (
            "<ol><li><p>打蛋</p></li><li>下锅<ul><li>小火</li></ul></li></ol>",
            "1. 打蛋\n2. 下锅\n  - 小火",
        ),
        (
            "<p>见<a href='https://e.org/'>这里</a></p><table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table>",
            "见[这里](https://e.org/)\n\n| a | b |\n| --- | --- |\n| 1 | 2 |",
        ),
        ("<h2>Rain</h2><p>Falls<br>down.</p>", "## Rain\n\nFalls\ndown."),
    ],
    "page-remnants": [
        ("```pythonCopy code\nx = 1\n```", "```python\nx = 1\n```"),
        ("```\nCopy code\nx = 1\n```", "```\nx = 1\n```"),
        ("2 / 3\nA second try.", "A second try."),
        ("1 / 2下雨了。", "下雨了。"),
        ("It rains.\nCopy18 chars / 3 words\nIt pours.", "It rains.\nIt pours."),
    ],
    "blank-lines": [("one\n\n\n\ntwo", "one\n\ntwo"), ("一\n\n\n二", "一\n\n二")],
    "model-address": [
        ("请GPT模型写一首诗", "写一首诗"),
        ("要求 GPT 语言模型能够，列出三条河", "列出三条河"),
    ],
    "mask-email-address": [("Write to petra.k@wp.pl or 写信给li_87@126.com。", "Write to <EMAIL> or 写信给<EMAIL>。")],
    "mask-phone-number": [("打13761948205找我, or (646) 387-2209.", "打<PHONE>找我, or <PHONE>.")],
    "mask-secret-key": [(f"密钥是{KEY}，别外传。", "密钥是<KEY>，别外传。")],
    "mask-id-number": [(f"证件{CITIZEN}；SSN 532-48-7719", "证件<ID-NUMBER>；SSN <ID-NUMBER>")],
    "mask-card-number": [(f"卡号 {CARD}, exp 09/27", "卡号 <CARD-NUMBER>, exp 09/27")],
    "mask-account-number": [(f"IBAN {ACCOUNT}.", "IBAN <ACCOUNT-NUMBER>.")],
    "mask-ip-address": [
        ("ssh root@93.184.216.34，或 2400:cb00:2048:1::c629:d7a2", "ssh root@<IP-ADDRESS>，或 <IP-ADDRESS>")
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
    "html-to-markdown": [
        "```html\n<p>Hi</p>\n```",
        "Use <div id='x'> and <p>text</p> in HTML.",
        "<html><body><p>Hi</p></body></html>",
        "| a<br>b | c |",
        "a < b and c > d",
        "std::vector<int> v;",
        "用<p>标签分段",
    ],
    "page-remnants": ["1 / 2", "The ratio is 3 / 4.", "Copy code from the page.", "```python\nx = 1\n```"],
    "blank-lines": ["a\n\nb", "```\na\n\n\n\nb\n```"],
    "model-address": ["GPT模型是什么？", "请写一首诗", "介绍GPT模型"],
    "mask-email-address": ["user@example.com", "git@github.com", "a @ b"],
    "mask-phone-number": ["(123) 456-7890", "555-0100", "3.14159265358979", "订单号 202311139123456789"],
    "mask-secret-key": ["sk-your-key-here", "sk-" + "x" * 40, "AKIAIOSFODNN7EXAMPLE"],
    "mask-id-number": ["110101199001011234", "123-45-6789", "20231113-12-3456"],
    "mask-card-number": ["4111 1111 1111 1111", "4545-8975-6845-5678", "**** **** **** 2646"],
    "mask-account-number": ["DE89 3704 0044 0532 0130 01", "AB12 CDEF"],
    "mask-ip-address": ["127.0.0.1", "192.168.1.10", "v10.15.7.1", "1.2.3.1 地震法"],
}


def mended(name: str, texts: list[str]) -> list[str]:
    return pl.DataFrame({"text": texts}).select(FIXES[name].mend(pl.col("text"))).to_series().to_list()


def test_masks_and_what_only_some_datasets_need_are_no_default() -> None:
    assert not [name for name in DEFAULT_FIXES if name.startswith("mask-") or "html-to" in name]
    assert set(DEFAULT_FIXES) < set(FIXES) == set(MENDED) == set(UNTOUCHED)


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
