"""The network whose batch norms go by several batches: batch norm of all, the logits of one."""

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from normscope import InputError
from normscope.nn import MLP, BatchNorm, CalmMLP

WIDTHS, ROWS = [6, 5, 4], 8


def batches(count: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, ROWS, WIDTHS[0], generator=generator, dtype=torch.float64) * 3 + 1


def calm(companions: int = 3) -> CalmMLP:
    return CalmMLP(WIDTHS, rows=ROWS, companions=companions, norm=BatchNorm, seed=2).double()


def usual() -> MLP:
    return MLP(WIDTHS, norm=BatchNorm, seed=2).double()


def test_it_is_batch_norm_of_the_batch_and_the_three_before_it() -> None:
    network, x = calm(), batches(6)
    for batch in x[:-1]:
        network(batch)
    expected = usual()
    loss = network(x[5])[:, 0].square().sum()
    together = expected(torch.cat([x[5], x[4], x[3], x[2]]))[:ROWS]
    loss.backward()
    together[:, 0].square().sum().backward()
    for one, other in zip(network.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-10, atol=1e-12)
    alone = usual()
    alone(x[5])[:, 0].square().sum().backward()
    assert not torch.allclose(next(network.parameters()).grad, next(alone.parameters()).grad)


def test_before_there_are_companions_the_batch_takes_their_place() -> None:
    network, x = calm(), batches(2)
    torch.testing.assert_close(network(x[0]), usual()(x[0]))
    torch.testing.assert_close(network(x[1]), usual()(torch.cat([x[1], *[x[0]] * 3]))[:ROWS])


def test_the_same_row_is_normalized_with_less_noise() -> None:
    spread = []
    for companions in (1, 15):
        network, x = calm(companions), batches(200)
        x[:, 0] = x[0, 0]
        made = torch.stack([network(batch)[0].detach() for batch in x])[20:]
        spread.append(float(made.var(0).mean()))
    assert spread[0] / spread[1] == pytest.approx(8, rel=0.5), "16 batches beside 2"


def test_in_eval_it_is_an_mlp_that_forgets_nothing() -> None:
    network, x = calm(), batches(3)
    network(x[0])
    expected = usual().eval()
    own = {name: value.clone() for name, value in network.state_dict().items()}
    expected.load_state_dict({name: own[name] for name in expected.state_dict()})
    assert torch.equal(network.eval()(x[1]), expected(x[1]))
    assert all(torch.equal(value, own[name]) for name, value in network.state_dict().items())
    other = calm()
    other.load_state_dict(own)
    assert torch.equal(network.train()(x[2]), other(x[2]))


def test_a_recomputed_forward_has_the_same_companions() -> None:
    network, other, x = calm(), calm(), batches(3)
    for each in (network, other):
        each(x[0])
        each(x[1])
    given = x[2].clone().requires_grad_()
    checkpoint(network, given, use_reentrant=False).square().sum().backward()
    other(x[2]).square().sum().backward()
    for one, expected in zip(network.parameters(), other.parameters(), strict=True):
        assert torch.equal(one.grad, expected.grad)
    assert torch.equal(network.recent, other.recent)


def test_batches_of_other_sizes_are_taken() -> None:
    network, x = calm(1), batches(4).flatten(0, 1)
    network(x[:3])
    torch.testing.assert_close(
        network(x[3:8]), usual()(torch.cat([x[3:8], x[:3].repeat(4, 1)[:11]]))[:5]
    )
    torch.testing.assert_close(network(x), usual()(x))


@pytest.mark.parametrize("options", [{"rows": 0}, {"rows": 3, "companions": 0}])
def test_no_rows_and_no_companions_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(InputError, match="1 or more"):
        CalmMLP(WIDTHS, **options)
