"""Money: nothing is lost, nothing turns null unseen, nothing is guessed."""

from __future__ import annotations

import decimal
import re
from decimal import Decimal
from fractions import Fraction

import polars as pl
import pytest
from helpers import decimal_sum
from hypothesis import example, given, settings
from hypothesis import strategies as st

from finops_lab.errors import CurrencyError, InputError
from finops_lab.money import (
    MONEY,
    excess_digits,
    format_money,
    is_blank,
    one_currency,
    parse,
    parse_strict,
    split,
)

BLANKS = ["", " ", "NULL", "null", "(null)", "None", "nil", "N/A", "na", "NaN", "-", " - ", None]
QUANTUM = Decimal(1).scaleb(-18)


def parsed(texts: list[str | None], currencies: list[str | None] | None = None) -> list[Decimal | None]:
    frame = pl.DataFrame(
        {"text": texts, "code": currencies or [None] * len(texts)},
        schema={"text": pl.String, "code": pl.String},
    )
    return frame.select(parse(pl.col("text"), pl.col("code"))).to_series().to_list()


def blank(texts: list[str | None]) -> list[bool]:
    return pl.select(is_blank(pl.lit(pl.Series(texts, dtype=pl.String)))).to_series().to_list()


def excess(texts: list[str | None]) -> list[bool]:
    return pl.select(excess_digits(pl.lit(pl.Series(texts, dtype=pl.String)))).to_series().to_list()


# --- parse ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("0", "0"),
        ("-0.5", "-0.5"),
        ("+5", "5"),
        (".5", "0.5"),
        ("5.", "5"),
        ("0.00 ", "0"),
        ("  12.34\t", "12.34"),
        ("\u00a05", "5"),
        ("1.81E-8", "0.0000000181"),
        (" 2.32e-9 ", "0.00000000232"),
        ("1E+2", "100"),
        ("-1.5e3", "-1500"),
        ("1e-18", "0.000000000000000001"),
        ("1,234.50", "1234.50"),
        ("-1,234,567.89", "-1234567.89"),
        ("(5.00)", "-5"),
        ("( 1,234.5 )", "-1234.5"),
        ("99999999999999999999.999999999999999999", "99999999999999999999.999999999999999999"),
        ("-99999999999999999999", "-99999999999999999999"),
        ("0" * 40 + "7", "7"),
        ("1." + "0" * 40, "1"),
        ("19.095560999999996", "19.095560999999996"),
    ],
)
def test_amounts_are_read_exactly(text: str, amount: str) -> None:
    assert parsed([text]) == [Decimal(amount)]
    assert excess([text]) == [False]


@pytest.mark.parametrize(
    "text",
    [
        "abc", "1.234,56", "12,5", "12,34", "1,2345", ",123", "1_000", "0x10", "5 000", "1.2.3", "--5",
        "+-5", "5-", "1e", "e5", "1e2.5", ".", "(", "()", "(5", "5)", "(-5)", "(+5)", "inf", "-Infinity",
        "USD 5", "5 USD", "5%", "100000000000000000000", "-1e20", "1e300", "9" * 400,
        "99999999999999999999.9999999999999999995", "1e99999999999999999999", "1e-99999999999999999999",
        "1e999999", "\u22125", "1\n2", "1;2", "½",
    ],
)  # fmt: skip
def test_what_is_no_amount_is_refused_not_blank(text: str) -> None:
    assert parsed([text], ["USD"]) == [None]
    assert blank([text]) == [False]


def test_parentheses_round_once() -> None:
    text = "0.00000000000000000050000000000000000000000000000000000000000000000001"
    assert parsed([f"({text})"]) == [-QUANTUM]
    assert parsed([text]) == [QUANTUM]


@pytest.mark.parametrize("text", BLANKS)
def test_spellings_of_no_value(text: str | None) -> None:
    assert blank([text]) == [True]
    assert parsed([text]) == [None]


@pytest.mark.parametrize(
    ("text", "currency", "amount"),
    [
        ("$5", "USD", "5"),
        ("5$", "CAD", "5"),
        ("-$5.10", "USD", "-5.10"),
        ("$-5", "USD", "-5"),
        ("($1,000.00)", "USD", "-1000"),
        ("€5", "EUR", "5"),
        ("¥5", "JPY", "5"),
        ("¥5", "CNY", "5"),
        ("€5", "USD", None),
        ("$5", "EUR", None),
        ("$5", None, None),
        ("$5", "usd", None),
        ("$5$", "USD", None),
        ("$$5", "USD", None),
        ("₩5", "KRW", None),
    ],
)
def test_symbols_need_their_currency(text: str, currency: str | None, amount: str | None) -> None:
    assert parsed([text], [currency]) == [None if amount is None else Decimal(amount)]


def test_parse_without_currency_refuses_symbols_and_keeps_the_dtype() -> None:
    frame = pl.DataFrame({"a": ["$5", "5"]}).select(parse(pl.col("a")))
    assert frame.schema == {"a": MONEY}
    assert frame["a"].to_list() == [None, Decimal(5)]


PLAIN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
ODD_TEXT = st.one_of(
    st.text(alphabet="0123456789.,eE+-() $€%_٣５½\u00a0\tNUL/an", max_size=24),
    st.from_regex(r"[+-]?\d{1,24}(\.\d{0,25})?([eE][+-]?\d{1,3})?", fullmatch=True, alphabet="0123456789.eE+-"),
    st.from_regex(r"\(?\$?-?\d{1,3}(,\d{3}){0,4}(\.\d{1,4})?\)?", fullmatch=True, alphabet="0123456789.,()$-"),
    st.decimals(allow_nan=True, allow_infinity=True).map(str),
    st.sampled_from([b for b in BLANKS if b is not None]),
    st.text(max_size=8),
)  # fmt: skip


@settings(max_examples=150)
@given(st.lists(ODD_TEXT, min_size=1, max_size=12))
@example(["1e-19", "0.5e-18", "1.5e-18", "9" * 21])
def test_parse_agrees_with_python_decimals(texts: list[str]) -> None:
    for text, amount, empty in zip(texts, parsed([*texts]), blank([*texts]), strict=True):
        assert not (empty and amount is not None), text
        plain = text.strip()
        if not PLAIN.fullmatch(plain):
            continue
        exact = Decimal(plain)
        with decimal.localcontext(prec=400):
            if abs(exact) >= Decimal(10) ** 20 - QUANTUM:
                continue
            assert amount is not None, text
            assert abs(amount - exact) <= QUANTUM / 2, text
            rounded = amount != exact
        assert excess([text]) == [rounded], text


@settings(max_examples=100)
@given(st.lists(st.one_of(st.none(), ODD_TEXT), min_size=1, max_size=12))
def test_strict_parse_has_exactly_the_blanks_as_nulls_or_refuses(texts: list[str | None]) -> None:
    series = pl.Series("BilledCost", texts, dtype=pl.String)
    try:
        amounts = parse_strict(series, file="bill.csv")
    except InputError as error:
        assert error.row is not None
        assert error.column == "BilledCost"
        offender = texts[error.row - 1]
        assert parsed([offender]) == [None]
        assert blank([offender]) == [False]
        assert not any(
            a is None and not b
            for a, b in zip(parsed(texts[: error.row - 1]), blank(texts[: error.row - 1]), strict=True)
        )
    else:
        assert amounts.is_null().to_list() == blank(texts)


def test_strict_parse_names_file_row_and_column() -> None:
    with pytest.raises(InputError, match=r"bill\.csv, row 3, column BilledCost: amount '12,5' .*2 such rows"):
        parse_strict(pl.Series("BilledCost", ["1", None, "12,5", "x"]), file="bill.csv")


def test_strict_parse_reads_symbols_by_each_row_s_currency() -> None:
    amounts = pl.Series("c", ["$1", "€2"])
    assert parse_strict(amounts, currency=pl.Series(["USD", "EUR"])).to_list() == [Decimal(1), Decimal(2)]
    with pytest.raises(InputError, match="row 2"):
        parse_strict(amounts, currency=pl.Series(["USD", "USD"]))


@pytest.mark.parametrize(
    ("text", "rounded"),
    [
        ("0.1234567890123456789", True),
        ("1,234.1234567890123456789", True),
        ("(0.0000000000000000001)", True),
        ("1e-19", True),
        ("1e-999999999", True),
        ("100e-20", False),
        ("0.1000000000000000000000", False),
        ("123456789012345678901234567890", False),
        ("0e-40", False),
        ("NULL", False),
        (None, False),
    ],
)
def test_excess_digits(text: str | None, rounded: bool) -> None:
    assert excess([text]) == [rounded]


# --- currencies and display ------------------------------------------------------------------------


def test_one_currency() -> None:
    assert one_currency([]) is None
    assert one_currency(["EUR", "EUR"]) == "EUR"
    assert one_currency(pl.Series(["EUR"])) == "EUR"
    with pytest.raises(CurrencyError, match="EUR, USD cannot be added"):
        one_currency(["USD", "EUR", "USD"])
    with pytest.raises(CurrencyError, match=r"\(none\), USD"):
        one_currency(["USD", None])


@pytest.mark.parametrize(
    ("amount", "currency", "decimals", "text"),
    [
        ("1234.5", "USD", None, "$1,234.50"),
        ("-1234.565", "USD", None, "-$1,234.56"),
        ("0.015", "USD", None, "$0.02"),
        ("0.025", "USD", None, "$0.02"),
        ("1234.5", "EUR", 0, "€1,234"),
        ("0.00000123", "USD", 8, "$0.00000123"),
        ("1234567.891", "JPY", None, "¥1,234,568"),
        ("12345678901234567890.129", "USD", None, "$12,345,678,901,234,567,890.13"),
    ],
)
def test_format_money(amount: str, currency: str, decimals: int | None, text: str) -> None:
    assert format_money(Decimal(amount), currency, decimals=decimals) == text


def test_format_money_says_unknown_for_null() -> None:
    assert format_money(None, "USD") == "unknown"


# --- split -----------------------------------------------------------------------------------------

TOTALS = st.decimals(min_value=-(10**15), max_value=10**15, places=18, allow_nan=False)
WEIGHTS = st.one_of(
    st.integers(0, 10**30),
    st.sampled_from([0, 0, 1]),
    st.decimals(min_value=0, max_value=10**9, places=9, allow_nan=False),
    st.fractions(min_value=0, max_value=10**6),
)
MANY_WEIGHTS = st.lists(WEIGHTS, min_size=1, max_size=12)


@settings(max_examples=200)
@given(TOTALS, MANY_WEIGHTS)
@example(Decimal("-0.000000000000000001"), [0, 0, 0])
@example(Decimal(0), [1, 0])
@example(Decimal("1e15"), [10**30, 1, 0])
def test_split_is_exact_fair_and_of_one_sign(total: Decimal, weights: list[int | Decimal | Fraction]) -> None:
    parts = split(total, weights)
    assert decimal_sum(parts) == total
    shares = [Fraction(w) for w in weights]
    if not any(shares):
        shares = [Fraction(1)] * len(shares)
    for part, share in zip(parts, shares, strict=True):
        exact = Fraction(total) * share / sum(shares)
        assert abs(Fraction(part) - exact) < Fraction(QUANTUM)
        assert part == 0 or (part > 0) == (total > 0)
        assert share > 0 or part == 0
        assert part.as_tuple().exponent == -18


@given(TOTALS, MANY_WEIGHTS, st.randoms(use_true_random=False))
def test_split_order_moves_at_most_one_unit(
    total: Decimal, weights: list[int | Decimal | Fraction], random: object
) -> None:
    order = list(range(len(weights)))
    random.shuffle(order)  # type: ignore[attr-defined]
    shuffled = split(total, [weights[i] for i in order])
    straight = split(total, weights)
    # The parts are the same amounts; which of two equal weights bears the odd unit is its place.
    assert sorted(shuffled) == sorted(straight)
    for place, i in enumerate(order):
        assert abs(shuffled[place] - straight[i]) <= QUANTUM
        if weights.count(weights[i]) == 1 and len({Fraction(w) for w in weights}) == len(weights):
            assert shuffled[place] == straight[i] or _tied(total, weights, i)


def _tied(total: Decimal, weights: list[int | Decimal | Fraction], i: int) -> bool:
    shares = [Fraction(w) for w in weights]
    whole = sum(shares) or Fraction(1)
    remainders = [abs(Fraction(total)) * 10**18 * share / whole % 1 for share in shares]
    return remainders.count(remainders[i]) > 1


@given(TOTALS, MANY_WEIGHTS, st.integers(1, 10**6))
def test_split_depends_on_proportions_only_and_mirrors(
    total: Decimal, weights: list[int | Decimal | Fraction], factor: int
) -> None:
    straight = split(total, weights)
    assert split(total, [Fraction(w) * factor for w in weights]) == straight
    assert split(total.copy_negate(), weights) == [part.copy_negate() for part in straight]


def test_split_golden() -> None:
    cents = [str(part) for part in split(Decimal("0.05"), [1, 1, 1], scale=2)]
    assert cents == ["0.02", "0.02", "0.01"]
    # Hamilton 1792 style: 10 units over 6, 3, 1 thirteenths: 4.6, 2.3, 0.77 plus the rest to 2.3 more.
    assert [int(p) for p in split(Decimal(10), [6, 3, 1, 3], scale=0)] == [5, 2, 1, 2]
    assert [int(p) for p in split(Decimal(-10), [6, 3, 1, 3], scale=0)] == [-5, -2, -1, -2]
    assert split(Decimal("12345678901234567890.123456789012345678"), [1]) == [
        Decimal("12345678901234567890.123456789012345678")
    ]


@pytest.mark.parametrize(
    ("total", "weights", "words"),
    [
        (Decimal(1), [], "no weights"),
        (Decimal(1), [1, -1], "negative"),
        (Decimal(1), [Decimal("-0.1")], "negative"),
        (Decimal(1), [0.5, 1], "float"),
        (Decimal(1), [Decimal("NaN")], "finite"),
        (Decimal("NaN"), [1], "finite"),
        (Decimal("Infinity"), [1], "finite"),
        (Decimal("1e-19"), [1], "more than 18 decimals"),
    ],
)
def test_split_refuses(total: Decimal, weights: list[int | Decimal | Fraction], words: str) -> None:
    with pytest.raises(InputError, match=words):
        split(total, weights)
