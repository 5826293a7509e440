"""Callbacks: with the real libraries where they are installed, and in the order of their calls."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from normscope._errors import InputError
from normscope.doctor.callbacks import Attached, lightning_callback, transformers_callback
from tests.doctor.networks import labelled, small

WITHOUT_EITHER = """
import sys
import normscope.doctor.callbacks
print(sorted({"lightning", "pytorch_lightning", "transformers"} & set(sys.modules)))
"""


def hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    inputs, labels = labelled(32)
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(inputs), labels).backward()
    optimizer.step()


def test_neither_library_is_imported_before_it_is_used() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_EITHER], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_starting_watching_and_stopping() -> None:
    model, look = small(), Attached()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(InputError, match="No training has begun"):
        look.diagnosis()
    step(model, optimizer)
    look.start(model, [optimizer])
    step(model, optimizer)
    assert hooks(model) > 0
    look.stop()
    look.stop()
    assert hooks(model) == 0
    step(model, optimizer)
    assert look.diagnosis().conditions["steps"] == 1


def test_a_second_training_takes_the_place_of_one_that_raised() -> None:
    first, second, look = small(), small(), Attached()
    look.start(first)
    look.start(second)
    assert (hooks(first), hooks(second) > 0) == (0, True)
    look.stop()


@pytest.mark.parametrize("make", [lightning_callback, transformers_callback])
def test_what_is_not_installed_is_said(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("lightning.pytorch", "pytorch_lightning", "transformers"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match="is not installed: pip install"):
        make()


@pytest.mark.parametrize("raising", [False, True])
def test_the_order_in_which_lightning_calls(raising: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Lightning: its sanity check comes before the training, and is not watched."""
    module = SimpleNamespace(Callback=type("Callback", (), {}))
    monkeypatch.setitem(sys.modules, "lightning.pytorch", module)
    model, look = small(), lightning_callback()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = SimpleNamespace(optimizers=[optimizer])
    model(labelled(32)[0])  # the sanity check
    look.on_train_start(trainer, model)
    step(model, optimizer)
    if raising:
        look.on_exception(trainer, model, LookupError())
    else:
        look.on_train_end(trainer, model)
    assert hooks(model) == 0
    assert look.diagnosis().conditions["passes"] == 1


def test_the_order_in_which_transformers_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    module = SimpleNamespace(TrainerCallback=type("TrainerCallback", (), {}))
    monkeypatch.setitem(sys.modules, "transformers", module)
    model, look = small(), transformers_callback()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    look.on_train_begin(None, None, None, model=model, optimizer=optimizer, lr_scheduler=None)
    step(model, optimizer)
    look.on_train_end(None, None, None, model=model)
    assert hooks(model) == 0
    assert look.diagnosis().conditions["steps"] == 1


@pytest.mark.filterwarnings("ignore")
def test_with_lightning(tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning.pytorch")

    class Module(lightning.LightningModule):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = small()
            self.net[0].requires_grad_(False)
            self.net[1].requires_grad_(False)

        def training_step(self, batch: Any, _: int) -> Tensor:
            return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

        def validation_step(self, batch: Any, _: int) -> None:
            self.net(batch[0])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD([p for p in self.parameters() if p.requires_grad], lr=0.1)

    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*labelled(128)), 32)
    model, look = Module(), lightning_callback()
    trainer = lightning.Trainer(
        max_epochs=2, callbacks=[look], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
        accelerator="cpu",
    )  # fmt: skip
    trainer.fit(model, data, data)
    diagnosis = look.diagnosis()
    assert diagnosis.conditions["steps"] == 8
    assert [f.code for f in diagnosis.findings if f.code.startswith("NS5")] == ["NS501"]
    assert hooks(model) == 0


@pytest.mark.filterwarnings("ignore")
def test_with_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = small()

        def forward(self, inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
            logits = self.net(inputs)
            return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}

    inputs, labels = labelled(128)
    rows = [{"inputs": x, "labels": y} for x, y in zip(inputs, labels, strict=True)]
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path), num_train_epochs=2, per_device_train_batch_size=16,
        gradient_accumulation_steps=2, report_to=[], save_strategy="no", disable_tqdm=True,
        use_cpu=True,
    )  # fmt: skip
    model, look = Model(), transformers_callback()
    transformers.Trainer(model, arguments, train_dataset=rows, callbacks=[look]).train()
    diagnosis = look.diagnosis()
    assert diagnosis.conditions["steps"] == 8
    found = [(f.code, f.severity) for f in diagnosis.findings if f.code.startswith("NS5")]
    assert found == [("NS503", "info")], "gradients are accumulated over two batches"
    assert hooks(model) == 0
