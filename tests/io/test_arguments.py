"""Flags and words of a command, in a parser with all kinds of them."""

import pytest

from bcq_exp.io.arguments import Parser


@pytest.fixture
def parser() -> Parser:
    made = Parser("bcq cook", "Cook a meal.\n\nIt is hot.", ["RICE", "RICE --salt 3"], "docs/food.md")
    made.add_argument("dishes", nargs="+", metavar="DISH", help="what is cooked")
    made.add_argument("--salt", type=int, metavar="N", help="grams of it")
    made.add_argument("--hot", "-o", action="store_true", help="pepper in it")
    return made


def test_help_is_what_it_is_for_then_words_then_examples_then_what_matters(parser: Parser):
    begin, _, options = parser.format_help().partition("\n\npositional arguments:\n")
    assert begin == (
        "Cook a meal.\n\nbcq cook [-h] [--salt N] [--hot] DISH [DISH ...]\n\n"
        "  bcq cook RICE\n  bcq cook RICE --salt 3\n\nIt is hot.\nRead on: docs/food.md."
    )
    assert [line.split()[0] for line in options.splitlines() if line.startswith("  ")] == [
        "DISH",
        "-h,",
        "--salt",
        "--hot,",
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--slat", "3"], "--slat: bcq cook has no such flag; nearest: --salt; bcq cook --help lists its flags"),
        (["rice", "--xyz=1"], "--xyz: bcq cook has no such flag; bcq cook --help lists its flags"),
        (["-x", "rice"], "-x: bcq cook has no such flag; bcq cook --help lists its flags"),
        ([], "missing: DISH; bcq cook --help says what it takes"),
        (["rice", "--salt"], "--salt: expected one argument; bcq cook --help says what it takes"),
        (["rice", "--salt", "much"], "--salt: invalid int value: 'much'; bcq cook --help says what it takes"),
        (
            ["rice", "-o", "soup"],
            "one word too many, or apart from the others: soup; bcq cook --help says what it takes",
        ),
    ],
)
def test_a_mistake_is_a_line_that_names_the_flag_first(parser: Parser, words: list[str], said: str):
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(words)
    assert ended.value.code == f"error: {said}"


def test_flags_are_taken_as_argparse_takes_them(parser: Parser):
    """Cut short, with their value in the same word, or negative numbers as their value."""
    for words in (["rice", "--sal", "-3", "-o"], ["--salt=-3", "--ho", "rice"]):
        assert vars(parser.parse_args(words)) == {"dishes": ["rice"], "salt": -3, "hot": True}
