"""In tests, a rule that raises ends the check: nobody would read of it among the skipped."""

import pytest

from normscope.doctor import _examination
from normscope.doctor._rules import Rule


@pytest.fixture(autouse=True)
def _rules_raise(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def again(rule: Rule, problem: Exception) -> None:
        raise problem

    if request.node.get_closest_marker("rules_may_raise") is None:
        monkeypatch.setattr(_examination, "_failed", again)
