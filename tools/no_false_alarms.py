"""Does a check raise a false alarm on models with which nothing is wrong? `./dev alarms` tells.

Every architecture of timm (and of torchvision, where that is installed) that has batch norms is
built with random weights and checked without data: freshly built, and with statistics, gammas,
betas and counters like those of a trained one, each in training and in eval mode. Whatever is found
above info is a false alarm.

    ./dev alarms              the smallest architecture of each family, also with data
    ./dev alarms --all        every architecture, without data
    ./dev alarms resnet18 ... these

With data: random images of 64 pixels (or of the size that a model insists on); freshly built, and
with statistics that are theirs: averaged over the batches in training mode. Architectures above 300
million parameters are looked at without numbers. One process per core, of one thread and ten
gigabytes.
"""

import argparse
import copy
import importlib.util
import os
import resource
import signal
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context

import torch
from torch import Tensor, nn

from normscope.anatomy import batch_norm_layers, running_norms
from normscope.doctor import check
from normscope.records import Diagnosis

MOST_PARAMETERS = 300e6
GIGABYTES = 10
SECONDS = 240
"""What one architecture may take, in all its states."""
ROWS, BATCHES = 16, 4
TORCHVISION = "torchvision/"


@dataclass
class Seen:
    """One architecture, looked at.

    Attributes:
        name: as timm's, or with a prefix.
        parameters: how many.
        norms: how many modules keep running statistics.
        left_out: why it, or part of it, was not looked at.
        found: findings above info, as state, code, module and message.
        infos: the codes of the others.
        seconds: of every static check.
        states: in which it was looked at.
    """

    name: str
    parameters: int = 0
    norms: int = 0
    left_out: str = ""
    found: list[tuple[str, str, str, str]] = field(default_factory=list)
    infos: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    states: list[str] = field(default_factory=list)

    def take(self, state: str, diagnosis: Diagnosis) -> None:
        """Note what was found in one state."""
        self.states.append(state)
        for finding in diagnosis.findings:
            if finding.severity == "info":
                self.infos[finding.code] += 1
            else:
                told = f"{finding.severity}: {finding.message}"
                self.found.append((state, finding.code, finding.module, told))


# --- the architectures ---


def names() -> list[str]:
    """All that are installed."""
    import timm

    found = list(timm.list_models())
    if importlib.util.find_spec("torchvision"):
        import torchvision.models as vision

        found += [TORCHVISION + name for name in vision.list_models()]
    return found


def family(name: str) -> str:
    """The file in which an architecture is."""
    if name.startswith(TORCHVISION):
        import torchvision.models as vision

        return vision.get_model_builder(name.removeprefix(TORCHVISION)).__module__
    import timm

    return timm.model_entrypoint(name).__module__


def build(name: str, device: str) -> nn.Module:
    """An architecture with random weights."""
    torch.manual_seed(0)
    with torch.device(device):
        if name.startswith(TORCHVISION):
            import torchvision.models as vision

            short = name.removeprefix(TORCHVISION)
            no_download = {"weights_backbone": None} if "/detection" in _file(short) else {}
            return vision.get_model(short, weights=None, **no_download)
        import timm

        return timm.create_model(name, pretrained=False)


def _file(short: str) -> str:
    import torchvision.models as vision

    path = vision.get_model_builder(short).__module__.replace(".", "/")
    return path.replace("/segmentation", "/detection")  # these have a backbone, too


def sized(name: str) -> Seen:
    """How large an architecture is."""
    seen = Seen(name)
    try:
        model = build(name, "meta")
    except NotImplementedError:  # it computes with its weights while it is built
        model = build(name, "cpu")
    except Exception as error:  # noqa: BLE001 - told
        seen.left_out = f"cannot be built: {_first_line(error)}"
        return seen
    seen.parameters = sum(parameter.numel() for parameter in model.parameters())
    seen.norms = len(running_norms(model))
    return seen


# --- looking at one ---


def looked_at(name: str, *, data: bool) -> Seen:
    """Check one architecture in every state."""
    seen = sized(name)
    if not seen.norms:
        seen.left_out = seen.left_out or "has no batch norm"
        return seen
    small = seen.parameters <= MOST_PARAMETERS
    try:
        with within(SECONDS):
            _look(seen, build(name, "cpu" if small else "meta"), data=data and small)
    except Exception as error:  # noqa: BLE001 - told
        seen.left_out = f"after {len(seen.states)} states: {_first_line(error)}"
    if not small:
        seen.left_out = "more than 300 million parameters: without numbers"
    return seen


def _look(seen: Seen, model: nn.Module, *, data: bool) -> None:
    with_numbers = not any(parameter.is_meta for parameter in model.parameters())
    batches = images(model, seen.name) if data else None
    if data and batches is None:
        seen.left_out = "with data: cannot be called with images"
    for state in ("fresh", "trained") if with_numbers else ("fresh",):
        if state == "trained":
            make_trained(model)
        for mode in (True, False):
            model.train(mode)
            start = time.perf_counter()
            diagnosis = check(model)
            seen.seconds.append(time.perf_counter() - start)
            seen.take(f"{state}, {'train' if mode else 'eval'}", diagnosis)
        if batches is not None:
            _look_with_data(seen, model, state, batches)


def _look_with_data(seen: Seen, model: nn.Module, state: str, batches: list[Tensor]) -> None:
    if state == "trained":
        fit(model, batches)
    seen.take(f"{state}, with data, eval", check(model.eval(), batches))


def fit(model: nn.Module, batches: list[Tensor]) -> None:
    """Let every batch norm average its statistics over the batches."""
    for norm in batch_norm_layers(model).values():
        norm.reset_running_stats()
        norm.momentum = None
    model.train()
    with torch.no_grad():
        for batch in batches:
            model(batch)


def make_trained(model: nn.Module) -> None:
    """Give every norm statistics, gammas, betas and a counter like those of a trained model."""
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for norm in running_norms(model).values():
            if norm.mean is not None and norm.variance is not None:
                norm.mean.normal_(0, 1, generator=random)
                norm.variance.log_normal_(0, 1.5, generator=random)
            if norm.gamma is not None:
                norm.gamma.normal_(0.8, 0.4, generator=random)
            if norm.beta is not None:
                norm.beta.normal_(-0.2, 0.5, generator=random)
            if norm.batches_tracked is not None:
                norm.module.num_batches_tracked.random_(1, 500_000, generator=random)


def images(model: nn.Module, name: str) -> list[Tensor] | None:
    """Random batches that it takes."""
    config = getattr(model, "pretrained_cfg", None) or {}
    size = tuple(config.get("input_size", (3, 224, 224)))
    if name.startswith(TORCHVISION) and "video" in family(name):
        size = (3, 8, 64, 64)
    for shape in dict.fromkeys([(*size[:-2], 64, 64), size]):
        random = torch.Generator().manual_seed(2)
        batches = [torch.randn(ROWS, *shape, generator=random) for _ in range(BATCHES)]
        tried = copy.deepcopy(model)  # a batch in training mode moves statistics
        try:
            with torch.no_grad():
                tried.eval()(batches[0][:2])
                tried.train()(batches[0])
        except Exception:  # noqa: BLE001 - the next size
            continue
        return batches
    return None


@contextmanager
def within(seconds: int) -> Iterator[None]:
    """Raise in the block when the time is over."""

    def over(*_: object) -> None:
        raise TimeoutError(f"took more than {seconds} s")

    signal.signal(signal.SIGALRM, over)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {text[0][:150]}"


# --- all of them ---


def _prepare() -> None:
    """One polite process."""
    os.nice(10)
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (GIGABYTES * 2**30, GIGABYTES * 2**30))


def in_processes(
    function: Callable[..., Seen], wanted: Iterable[str], **options: bool
) -> Iterator[Seen]:
    """In the order in which they are ready; one that takes its process with it is told."""
    left, number = list(wanted), 0
    while left:
        some = left[:50]  # then new processes: memory falls apart
        with ProcessPoolExecutor(os.cpu_count(), get_context("spawn"), _prepare) as executor:
            tasks = [executor.submit(function, name, **options) for name in some]
            try:
                for task in as_completed(tasks):
                    seen = task.result()
                    left.remove(seen.name)
                    number += 1
                    yield seen
                    print(f"\r{number} {seen.name:60.60}", end="", file=sys.stderr, flush=True)
            except BrokenProcessPool:
                yield Seen(left.pop(0), left_out="ended its process")
    print(file=sys.stderr)


def representatives(wanted: list[str]) -> list[str]:
    """The smallest architecture with a batch norm of each family."""
    families: defaultdict[str, list[Seen]] = defaultdict(list)
    for seen in in_processes(sized, wanted):
        if seen.norms:
            families[family(seen.name)].append(seen)
    return [min(kin, key=lambda s: (s.parameters, s.name)).name for kin in families.values()]


def report(results: list[Seen]) -> int:
    """Print what was seen; the number of architectures with a false alarm."""
    looked = [seen for seen in results if seen.states]
    alarms: defaultdict[str, set[str]] = defaultdict(set)
    infos: defaultdict[str, set[str]] = defaultdict(set)
    for seen in looked:
        for _, code, _, _ in seen.found:
            alarms[code].add(seen.name)
        for code in seen.infos:
            infos[code].add(seen.name)
    seconds = [second for seen in looked for second in seen.seconds]
    with_data = sum(any("data" in state for state in seen.states) for seen in looked)
    print(f"\n{time.strftime('%Y-%m-%d')}, torch {torch.__version__}")
    print(f"architectures looked at: {len(looked)}, {with_data} of them also with data")
    print(f"checks: {sum(len(seen.states) for seen in looked)}")
    print("findings above info, by code, with the number of architectures:", _counted(alarms))
    print("findings of info, likewise:", _counted(infos))
    if seconds:
        print(
            f"a static check: median {statistics.median(seconds):.3f} s, most {max(seconds):.2f} s"
        )
    reasons = Counter(seen.left_out for seen in results if seen.left_out)
    for reason, count in reasons.most_common():
        some = ", ".join(seen.name for seen in results if seen.left_out == reason)
        print(f"left out: {count}: {reason}: {some[:200]}")
    return len(set().union(*alarms.values()))


def _counted(codes: dict[str, set[str]]) -> str:
    return ", ".join(f"{code}: {len(codes[code])}" for code in sorted(codes)) or "none"


def main() -> int:
    """Run; 1 if there is a false alarm."""
    if not importlib.util.find_spec("timm"):
        print("timm is not installed (pip install timm); nothing to look at.")
        return 0
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", help="architectures; by default one of each family")
    parser.add_argument("--all", action="store_true", help="every one, without data")
    given = parser.parse_args()
    wanted = given.names or (names() if given.all else representatives(names()))
    results = []
    for seen in in_processes(looked_at, wanted, data=not given.all):
        results.append(seen)
        for state, code, module, told in seen.found:
            print(f"\n{seen.name} ({state}): {code} {module}: {told}", flush=True)
    return 1 if report(results) else 0


if __name__ == "__main__":
    sys.exit(main())
