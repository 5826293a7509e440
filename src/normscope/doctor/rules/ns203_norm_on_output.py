"""A batch norm with nothing but a softmax between it and the model's output.

## What it finds

A batch norm with gamma and beta whose output is what the model answers, directly or through a
softmax, a sigmoid or a reshaping.

## Why it matters

In training each output then has, over any batch, the mean beta and the deviation |gamma|, whatever
the layers before it say: logits cannot grow more certain, and a regression can reach the scale of
its targets only through gamma and beta, at their learning rate. A row's answer depends on the rows
beside it.

## Example

    >>> from torch import nn
    >>> from normscope.doctor import check
    >>> model = nn.Sequential(nn.Linear(2, 1), nn.BatchNorm1d(1))
    >>> check(model).of("NS203")[0].module
    '1'

## Fix

Take it out, and train the last layer (with a bias) again. That changes what the model computes, so
there is no repair that does it.

## On purpose

Encoders and projectors end in a batch norm by design: embeddings (a "BNNeck"), SimSiam and BYOL.
Without gamma and beta (`affine=False`), as SimSiam has it, the rule is silent.

## Symptoms

- regression cannot fit the targets
- loss has an odd scale and stays there
- loss is stuck and does not decrease
- logits never get confident

## References

- yaoing/DAN#14; Lab41/attalos#89; team-approx-bayes/BayesBiNN#1
- Chen and He 2021 (arXiv 2011.10566), section 4.4: the norm on SimSiam's output
"""

from collections.abc import Iterator

from torch.nn.modules.batchnorm import _BatchNorm

from normscope.doctor._case import Case
from normscope.doctor._rules import Found
from normscope.doctor._ways import called, upstream

_HEADS = {
    "softmax", "logsoftmax", "sigmoid", "logsigmoid", "identity", "flatten", "squeeze", "view",
    "reshape",
}  # fmt: skip


def find(case: Case) -> Iterator[Found]:
    """Yield a finding for each batch norm on the output."""
    graph = case.graph
    output = next(node for node in graph.graph.nodes if node.op == "output")
    for node in upstream(output, lambda node: called(graph, node) in _HEADS):
        norm = graph.modules.get(node)
        if isinstance(norm, _BatchNorm) and norm.affine and norm.num_features:
            yield Found(
                severity="info",
                module=graph.paths[norm],
                message=(
                    f"The model's answer is the output of a {type(norm).__name__}: in training "
                    f"each of its {norm.num_features} numbers has the mean beta and the deviation "
                    "|gamma| over any batch, whatever the layers before it say."
                ),
                fix="If these are logits or predictions, take it out and train the last layer.",
                evidence={"outputs": norm.num_features},
            )
