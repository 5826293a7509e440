"""The order of findings."""

from torch import nn

from normscope.doctor import check


def test_among_equals_what_was_measured_comes_before_what_settings_say() -> None:
    norm = nn.BatchNorm1d(8, track_running_stats=False)
    model = nn.Sequential(nn.Linear(4, 8), norm, nn.ReLU(), nn.Linear(8, 3))
    found = [(each.severity, each.code) for each in check(model).findings]
    assert found == [("info", "NS303"), ("info", "NS201"), ("info", "NS702")]
