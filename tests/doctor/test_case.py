"""What rules are given: the model as it was handed over, whatever was looked at before."""

import pytest
from torch import Tensor, nn

from normscope.doctor import check
from tests.doctor.networks import rows


class NoisyInTraining(nn.Module):
    """A dropout before a batch norm, which only a forward in training mode comes by."""

    def __init__(self, momentum: float) -> None:
        super().__init__()
        self.dropout, self.map = nn.Dropout(0.5), nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4, momentum=momentum)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            x = self.dropout(x)
        return self.norm(self.map(x))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("momentum", [0.1, 0.99])  # a rule before looks at the data of one of them
def test_what_goes_where_does_not_depend_on_what_rules_before_have_looked_at(
    momentum: float, training: bool
) -> None:
    model = NoisyInTraining(momentum).train(training)
    assert bool(check(model, [rows()]).of("NS202")) == training
