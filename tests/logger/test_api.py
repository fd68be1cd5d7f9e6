"""The surface that users hold on to."""

from __future__ import annotations

import inspect
from importlib.metadata import version

import upshot
from upshot import errors


def test_exported_names_are_these_and_no_others():
    """A name once exported stays; a new one is added here on purpose."""
    assert sorted(upshot.__all__) == [
        "ConfigurationError",
        "InvalidBatchError",
        "Logger",
        "PayloadTooLargeError",
        "PermanentError",
        "TransientError",
        "TransportError",
        "UpshotError",
        "__version__",
        "close",
        "configure",
        "flush",
        "log_frame",
        "log_label",
        "log_prediction",
        "log_shown",
        "log_slate",
        "retract_label",
        "stats",
    ]


def test_signatures_are_those_of_the_contract():
    """Names, order, which are keyword-only, and defaults."""
    assert parameters(upshot.log_prediction) == (
        "features, prediction, *, request_id=None, item_id='', model=None, model_version=None, predicted_at=None, "
        "feature_times=None, entities=None, tags=None, inputs=None, attributions=None, action=None, propensity=None, "
        "shown=None"
    )
    assert parameters(upshot.log_label) == (
        "request_id=None, value=None, *, entity=None, name='label', observed_at=None, item_id='', model=None, source='', "
        "label_id=None, tags=None"
    )
    assert parameters(upshot.retract_label) == (
        "request_id=None, *, entity=None, name='label', observed_at=None, item_id='', model=None, source='', "
        "label_id=None, tags=None"
    )
    assert parameters(upshot.flush) == "timeout=None, *, to='server'"
    assert parameters(upshot.close) == "timeout=2.0"
    assert parameters(upshot.stats) == ""


def parameters(function: object) -> str:
    signature = inspect.signature(function)  # type: ignore[arg-type]
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    return str(inspect.Signature(bare))[1:-1]


def test_every_error_hangs_in_the_tree_its_module_draws():
    """The docstring is the documentation; a class that it does not name is a class nobody finds."""
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), upshot.UpshotError)
        assert name in (errors.__doc__ or "")
        assert getattr(upshot, name) is getattr(errors, name)


def test_the_version_is_that_of_the_distribution():
    """One place says it."""
    assert upshot.__version__ == version("upshot")


def test_stats_of_a_logger_that_was_never_used_are_all_zero():
    """Every counter of the balance is there from the start, and asking starts no thread."""
    stats = upshot.Logger(model="m").stats()
    assert set(stats.values()) == {0}
    assert {"accepted", "stored", "duplicates", "rejected", "dropped", "queued", "in_flight"} <= set(stats)


def test_flush_and_close_of_a_logger_that_was_never_used_do_nothing():
    """Nothing was logged, so everything is settled."""
    logger = upshot.Logger(model="m")
    assert logger.flush() is True
    logger.close()
    logger.close()
