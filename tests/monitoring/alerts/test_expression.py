"""The language of alert rules: what is understood, and how what is not is named."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upshot_joiner.config import ModelConfig, read_config
from upshot_joiner.errors import Problem
from upshot_monitoring.alerts.expression import Comparison, Expression, Joined, Value, WrongExpression, judge, parse
from upshot_monitoring.alerts.rules import check, rules_of, understood

BINARY = ModelConfig()


def test_a_comparison_has_a_name_an_operator_and_a_number() -> None:
    found = parse("drift.share > 0.3")
    assert isinstance(found, Comparison)
    assert (found.of, found.operator, found.against) == (Value("drift.share"), ">", 0.3)


def test_options_are_texts_by_key_and_their_order_does_not_matter() -> None:
    a = parse('performance.roc_auc.low[version="2", segment="features.country=D\\"E"] <= 7e-1')
    b = parse('performance.roc_auc.low [ segment = "features.country=D\\"E" , version=2 ] <= 0.7')
    assert isinstance(a, Comparison)
    assert isinstance(b, Comparison)
    assert a.of == b.of == Value("performance.roc_auc.low", (("segment", 'features.country=D"E'), ("version", "2")))


def test_and_binds_stronger_than_or() -> None:
    found = parse("lag.join > 1m or lag.intake > 2 and lag.roll_ups > 3")
    assert isinstance(found, Joined)
    assert found.by == "or"
    assert [type(part).__name__ for part in found.parts] == ["Comparison", "Joined"]
    inside = parse("(lag.join > 1m or lag.intake > 2) and lag.roll_ups > 3")
    assert isinstance(inside, Joined)
    assert inside.by == "and"


def test_a_duration_is_seconds() -> None:
    found = parse("labels.silence >= 1.5h")
    assert isinstance(found, Comparison)
    assert found.against == 5400


@pytest.mark.parametrize(
    ("text", "code", "at"),
    [
        ("", "unexpected_end", 0),
        ("drift.share", "unexpected_end", 11),
        ("drift.share >", "unexpected_end", 13),
        ("drift.share 0.3", "missing_operator", 12),
        ("drift.share => 0.3", "missing_operator", 12),
        ("drift.share > 0.3 drift.count > 1", "unexpected", 18),
        ("drift.share > 0.3 and", "unexpected_end", 21),
        ("and drift.share > 0.3", "missing_name", 0),
        ("(drift.share > 0.3", "unexpected_end", 18),
        ("drift.share > 0.3)", "unexpected", 17),
        ("drift.share > high", "missing_number", 14),
        ("drift.share > NaN", "missing_number", 14),
        ("drift.share > 1e999", "not_finite", 14),
        ("drift.share > 0.3; import os", "unexpected", 17),
        ("__import__('os').system('x')", "missing_operator", 10),
        ("drift.shar > 0.3", "unknown_name", 0),
        ("drift.count > 1 or dirft.share > 0.3", "unknown_name", 19),
        ("drift.share[feature=amount] > 0.3", "unknown_option", 0),
        ("drift.share[version=1, version=2] > 0.3", "repeated_option", 23),
        ("drift.share[version] > 0.3", "missing_option", 19),
        ("drift.share[window=90m] > 0.3", "invalid_window", 0),
        ("drift.share[window=soon] > 0.3", "invalid_window", 0),
        ("drift.share[baseline=last_year] > 0.3", "invalid_baseline", 0),
        ("drift.statistic > 0.3", "missing_feature", 0),
        ("drift.statistic[role=weather] > 0.3", "invalid_role", 0),
        ("drift.verdict[feature=a] > 0.3", "verdicts_are_equal_or_not", 27),
        ("drift.verdict[feature=a] == bad", "unknown_verdict", 28),
        ("drift.verdict[feature=a] == no_verdict", "unknown_verdict", 28),
        ("skew.share[baseline=previous] > 0.3", "unknown_option", 0),
        ("performance.roc_auk < 0.7", "unknown_metric", 0),
        ("performance.rmse < 0.7", "metric_of_another_task", 0),
        ("performance.roc_auc[segment=country] < 0.7", "invalid_segment", 0),
        ("labels.coverage < 5m", "not_a_duration", 18),
        ('drift.share[version="\\x"] > 1', "invalid_text", 20),
        ("drift.share > 0.3 # often", "unexpected", 18),
        ("(" * 9 + "drift.share > 1" + ")" * 9, "too_deep", 9),
        (" or ".join(["drift.share > 1"] * 17), "too_many_comparisons", 0),
        ("drift.share > 1" + " " * 1000, "too_long", 1000),
    ],
)
def test_what_is_wrong_is_named_with_its_place(text: str, code: str, at: int) -> None:
    with pytest.raises(WrongExpression) as error:
        understood(text, BINARY)
    assert (error.value.code, error.value.at) == (code, at)


def test_every_wrong_place_of_a_configuration_is_named_and_no_text_of_it_said() -> None:
    """Names, channels, doubles: all at once, with the place; the answer helps with names of ours alone."""
    config = read_config(
        {
            "alerts": [
                {"when": "drift.shaer > 0.3", "to": ["ops", "nobody"]},
                {"when": "drift.share > 0.3", "until": "drift.share <", "to": ["ops"]},
                {"when": "labels.coverage < 0.9", "name": "a"},
                {"when": "labels.coverage < 0.8", "name": "a"},
            ]
        }
    )
    with pytest.raises(Problem) as error:
        check(config, {"ops"})
    assert error.value.errors == [
        {"loc": "alerts.0.when[0]", "code": "unknown_name"},
        {"loc": "alerts.0.to.1", "code": "unknown_channel"},
        {"loc": "alerts.1.until[13]", "code": "unexpected_end"},
        {"loc": "alerts.3", "code": "repeated_rule"},
    ]
    assert "drift.share" in error.value.title
    assert "shaer" not in error.value.title
    assert "nobody" not in error.value.title


def test_wrong_fields_of_a_rule_are_named() -> None:
    with pytest.raises(Problem) as error:
        read_config({"alerts": [{"when": "drift.share > 0.3", "for": "soon", "severity": "red", "colour": 1}]})
    assert {place["loc"] for place in error.value.errors} == {"alerts.0.for", "alerts.0.severity", "alerts.0.colour"}


def test_a_rule_comes_back_from_the_store_as_it_was_put() -> None:
    """`for` is a word of Python; it is `for` in JSON all the same."""
    config = read_config(
        {"alerts": [{"when": "drift.share > 0.3", "for": "2h", "keep_for": "1h", "until": "drift.share < 0.1"}]}
    )
    assert ModelConfig.model_validate_json(config.model_dump_json(), strict=False) == config
    assert config.model_dump(mode="json")["alerts"][0]["for"] == "2h"


def test_a_stored_rule_that_cannot_be_understood_is_a_rule_that_is_never_known() -> None:
    """Kept by an earlier version, which did not look."""
    [rule] = rules_of(read_config({"alerts": [{"when": "nonsense", "to": ["ops"]}]}))
    assert rule.when is None
    assert "cannot be understood" in rule.trouble


NAMES = st.sampled_from(["a", "b", "c", "d"])


def expressions() -> st.SearchStrategy[str]:
    one = NAMES.map(lambda name: f"{name} > 0")
    return st.recursive(
        one,
        lambda inner: st.lists(inner, min_size=2, max_size=3).flatmap(
            lambda parts: st.sampled_from([" and ", " or "]).map(lambda by: "(" + by.join(parts) + ")")
        ),
        max_leaves=8,
    )


@given(text=expressions(), known=st.dictionaries(NAMES, st.sampled_from([True, False, None])))
def test_what_is_not_known_decides_nothing(text: str, known: dict[str, bool | None]) -> None:
    """The verdict is known exactly where it is the same whatever the unknown values are (of comparisons that occur once each,
    and never wrong where they occur more often)."""

    def value(of: Expression, given: dict[str, bool | None]) -> bool | None:
        return judge(of, lambda one: given.get(one.of.name))

    found = parse(text)
    verdict = value(found, known)
    unknown = [name for name in "abcd" if known.get(name) is None]
    worlds = [
        {**known, **{name: bool(bits >> i & 1) for i, name in enumerate(unknown)}} for bits in range(2 ** len(unknown))
    ]
    answers = {value(found, world) for world in worlds}
    assert None not in answers
    if verdict is not None:
        assert answers == {verdict}
    elif all(text.count(f"{name} ") == 1 for name in unknown if f"{name} " in text):
        assert answers == {True, False}


@given(st.text(alphabet='drift.share><=!0123456789 ()[]",abandor\\\n', max_size=60))
def test_any_text_is_understood_or_refused_with_a_place(text: str) -> None:
    at = 0
    try:
        parse(text)
    except WrongExpression as error:
        at = error.at
    assert 0 <= at <= len(text)
