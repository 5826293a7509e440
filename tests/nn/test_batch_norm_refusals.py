"""What BatchNorm cannot use it refuses in a sentence, before anything has changed."""

import pytest
import torch
from jaxtyping import config
from torch import nn

from normscope._errors import BatchTooSmallError, InputError, IntegerTensorError
from normscope.nn import BatchNorm, BatchNorm1d, BatchNorm2d, BatchNorm3d

CONVENTIONS = [{}, {"running_variance": "population"}, {"momentum": None}, {"warm_up": True}]


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("tracks", [True, False])
class TestOneValuePerChannel:
    def test_says_what_to_do(self, convention: dict[str, object], *, tracks: bool) -> None:
        norm = BatchNorm1d(64, track_running_stats=tracks, **convention)
        with pytest.raises(BatchTooSmallError) as error:
            norm(torch.randn(1, 64))
        for words in ("BatchNorm1d(64)", "[1, 64]", "64 channels", "drop_last=True", "eval()"):
            assert words in str(error.value)
        assert "pooling" not in str(error.value)

    def test_after_global_pooling(self, convention: dict[str, object], *, tracks: bool) -> None:
        norm = BatchNorm2d(5, track_running_stats=tracks, **convention)
        with pytest.raises(BatchTooSmallError, match=r"After global pooling, use another norm"):
            norm(torch.randn(1, 5, 1, 1))

    def test_is_a_value_error_as_torchs(
        self, convention: dict[str, object], *, tracks: bool
    ) -> None:
        with pytest.raises(ValueError, match="more than 1 value per channel"):
            nn.BatchNorm1d(3)(torch.randn(1, 3))
        with pytest.raises(ValueError, match="one value in each of 3 channels"):
            BatchNorm1d(3, **convention)(torch.randn(1, 3))

    def test_changes_nothing(self, convention: dict[str, object], *, tracks: bool) -> None:
        norm = BatchNorm1d(3, track_running_stats=tracks, **convention)
        with pytest.raises(BatchTooSmallError):
            norm(torch.randn(1, 3))
        assert not tracks or norm.num_batches_tracked == 0

    def test_two_values_are_enough(self, convention: dict[str, object], *, tracks: bool) -> None:
        norm = BatchNorm1d(3, track_running_stats=tracks, **convention)
        assert norm(torch.randn(2, 3)).shape == (2, 3)
        assert norm(torch.randn(1, 3, 2)).shape == (1, 3, 2)


def test_torchs_own_error_comes_after_the_count() -> None:
    """The control of `test_changes_nothing`."""
    norm = nn.BatchNorm1d(3)
    with pytest.raises(ValueError, match="more than 1"):
        norm(torch.randn(1, 3))
    assert norm.num_batches_tracked == 1


def test_one_value_is_enough_in_eval_unless_there_are_no_statistics() -> None:
    assert BatchNorm1d(3).eval()(torch.randn(1, 3)).shape == (1, 3)
    with pytest.raises(BatchTooSmallError):
        BatchNorm1d(3, track_running_stats=False).eval()(torch.randn(1, 3))


@pytest.mark.parametrize("training", [True, False])
class TestInputs:
    @pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool, torch.complex64])
    def test_integers(self, dtype: torch.dtype, *, training: bool) -> None:
        x = torch.randint(2, (4, 3)).to(dtype)
        with pytest.raises(IntegerTensorError, match=rf"{dtype}.*Convert it first: x\.float\(\)"):
            BatchNorm1d(3).train(training)(x)

    def test_wrong_number_of_channels(self, *, training: bool) -> None:
        words = r"BatchNorm1d\(3\) needs 3 channels in axis 1; got 4 in \[5, 4\]\.$"
        with pytest.raises(InputError, match=words):
            BatchNorm1d(3).train(training)(torch.randn(5, 4))

    @pytest.mark.parametrize(
        ("norm", "shape"), [(BatchNorm1d(3), (2, 7, 3)), (BatchNorm2d(3), (2, 7, 7, 3))]
    )
    def test_channels_in_the_last_axis(
        self, norm: BatchNorm, shape: tuple[int, ...], *, training: bool
    ) -> None:
        x = torch.randn(shape)
        with pytest.raises(InputError, match=r"The last axis has that many.*x\.movedim\(-1, 1\)"):
            norm.train(training)(x)
        assert norm(x.movedim(-1, 1)).shape[1] == 3, "the advice works"

    @pytest.mark.parametrize(
        ("norm", "shape"),
        [
            (BatchNorm(3), (3,)),
            (BatchNorm1d(3), (3,)),
            (BatchNorm1d(3), (2, 3, 4, 4)),
            (BatchNorm2d(3), (2, 3)),
            (BatchNorm2d(3), (2, 3, 4)),
            (BatchNorm3d(3), (2, 3, 4, 4)),
        ],
    )
    def test_wrong_number_of_axes(
        self, norm: BatchNorm, shape: tuple[int, ...], *, training: bool
    ) -> None:
        with pytest.raises(InputError, match=r"axes, of which axis 1 is the channels; got \["):
            norm.train(training)(torch.randn(shape))


class TestOptions:
    @pytest.mark.parametrize("momentum", [-0.1, 1.1, float("nan")])
    def test_momentum_outside_its_interval(self, momentum: float) -> None:
        with pytest.raises(InputError, match=f"momentum is {momentum}; it is the weight of"):
            BatchNorm(3, momentum=momentum)

    def test_a_decay_outside_its_interval(self) -> None:
        with pytest.raises(InputError, match=r"decay is 1\.5; it is the weight of the old"):
            BatchNorm.with_decay(3, 1.5)

    def test_an_unknown_convention(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(config, "jaxtyping_disable", True)  # as a user without shape checks
        with pytest.raises(InputError, match=r"'biased'; it must be 'bessel' or 'population'"):
            BatchNorm(3, running_variance="biased")  # type: ignore[arg-type]

    def test_a_cumulative_average_that_warms_up(self) -> None:
        with pytest.raises(InputError, match="warm_up needs a momentum"):
            BatchNorm(3, momentum=None, warm_up=True)
