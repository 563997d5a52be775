"""Training with shared-out weights: under FSDP every process keeps its share of what is trained.

Gradients, the optimiser's moments and, between steps, the trained weights are split over the processes (torch's
``fully_shard``). During a step the weights are whole on each: how often the language model is run depends on the
candidates of a process's own items, so layers that were gathered one at a time would wait for each other forever.
Weights that are not trained are whole throughout, which costs nothing at the peak and spares their gathering.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from causalecg.errors import InputError

#: What is served of accelerate's FSDP settings: variable -> key of the configuration file, what its value must be,
#: what it is where the variable is not set, and why.
_SERVED = {
    "FSDP_VERSION": ("fsdp_version", "2", "1", "parts that are trained in turn need the second"),
    "FSDP_AUTO_WRAP_POLICY": (
        "fsdp_auto_wrap_policy",
        "NO_WRAP",
        "NO_WRAP",
        "layers cannot be gathered one at a time where processes run the language model differently often",
    ),
    "FSDP_CPU_RAM_EFFICIENT_LOADING": (
        "fsdp_cpu_ram_efficient_loading",
        "false",
        "false",
        "every process builds the model from its seed",
    ),
    "FSDP_OFFLOAD_PARAMS": ("fsdp_offload_params", "false", "false", "weights stay where they are trained"),
    "FSDP_ACTIVATION_CHECKPOINTING": (
        "fsdp_activation_checkpointing",
        "false",
        "false",
        "the keys and values of a question are used more than once",
    ),
    "ACCELERATE_DYNAMO_BACKEND": ("dynamo_backend", "no", "no", "weights that change their shape cannot be compiled"),
    "ACCELERATE_MIXED_PRECISION": ("mixed_precision", "no", "no", "a frozen language model is halved by model.dtype"),
}
#: Launchers of accelerate's that bring a training loop of their own.
_REFUSED = {"ACCELERATE_USE_DEEPSPEED": "DeepSpeed", "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM"}


def check_launch() -> None:
    """InputError where ``accelerate launch`` was told what training does not serve."""
    from accelerate.utils import parse_flag_from_env

    steps = os.environ.get("ACCELERATE_GRADIENT_ACCUMULATION_STEPS") or "1"
    if steps != "1":
        raise InputError(
            f"training steps after every batch and cannot accumulate gradients over {steps} of them; leave "
            "gradient_accumulation_steps out and set batch_size in the run's configuration"
        )
    for variable, name in _REFUSED.items():
        if parse_flag_from_env(variable):
            raise InputError(
                f"training does not go through {name}, whose engine owns the one optimiser of a run where an arm may "
                "have several; launch it with distributed_type: FSDP (examples/configs/accelerate/fsdp.yaml)"
            )
    if not is_asked_for():
        return
    for variable, (key, wanted, unset, reason) in _SERVED.items():
        value = os.environ.get(variable) or unset
        if value.lower() != wanted.lower():
            raise InputError(f"training by FSDP wants {key}: {wanted}, not {value}: {reason}")


def is_asked_for() -> bool:
    """Whether ``accelerate launch`` was told to use FSDP."""
    from accelerate.utils import parse_flag_from_env

    return bool(parse_flag_from_env("ACCELERATE_USE_FSDP"))


class Shares:
    """The trained parameters of a module, shared out over the processes in place.

    Args:
        module: whose forward passes are the steps; moved to ``device``.
        device: of this process.

    InputError where trained parameters differ in precision, or torch is too old.
    """

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        module.to(device)
        # A scalar cannot be split.
        self._apart = [p for p in module.parameters() if not p.requires_grad or p.dim() == 0]
        ids = set(map(id, self._apart))
        kinds = {str(p.dtype) for p in module.parameters() if id(p) not in ids}
        if len(kinds) > 1:
            raise InputError(
                f"training by FSDP wants one precision of everything that is trained, not {' and '.join(sorted(kinds))}"
            )
        mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
        again = os.environ.get("FSDP_RESHARD_AFTER_FORWARD", "true").lower() == "true"
        try:
            fully_shard(module, mesh=mesh, reshard_after_forward=again, ignored_params=set(self._apart))
        except TypeError as error:
            raise InputError(f"training by FSDP needs torch 2.7 or later, not {torch.__version__}") from error
        self.module: Any = module

    @contextmanager
    def whole(self) -> Iterator[None]:
        """All weights whole on every process. What is changed in them in place is kept."""
        self.module.unshard()
        before = {name: parameter._version for name, parameter in self.module.named_parameters()}
        try:
            yield
        finally:
            changed = {n: p.detach().clone() for n, p in self.module.named_parameters() if p._version != before[n]}
            self.module.reshard()
            shares = dict(self.module.named_parameters())
            with torch.no_grad():
                for name, value in changed.items():
                    shares[name].copy_(share_of(value, shares[name]))

    def joined(self, total: Tensor) -> Tensor:
        """A loss whose gradient reaches, on every process, each parameter that the loss of any process reaches: they
        add their gradients up together. Called within a forward pass."""
        trained = [p for p in self.module.parameters() if p.requires_grad]
        reached = _reached(total)
        flags = torch.tensor([float(id(p) in reached) for p in trained], device=total.device)
        anywhere = flags.clone()
        torch.distributed.all_reduce(anywhere)
        for p, here, there in zip(trained, flags.tolist(), anywhere.tolist(), strict=True):
            if there and not here:
                total = total + 0 * p.flatten()[0]
        return total

    def reduce_apart(self) -> None:
        """Average the gradients of parameters that are not shared out over the processes."""
        for parameter in self._apart:
            if parameter.grad is not None:
                torch.distributed.all_reduce(parameter.grad)
                parameter.grad /= torch.distributed.get_world_size()

    def gathered(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Whole tensors, on the first process; the others take part and get none."""
        first = torch.distributed.get_rank() == 0
        found = {}
        for name, value in tensors.items():
            whole = _whole(value)
            if first:
                found[name] = whole.detach().cpu()
        return found

    def end(self) -> None:
        """Make the parameters whole for good, on every process; no step can follow."""
        made: dict[int, nn.Parameter] = {}
        for part in self.module.modules():
            for name, value in list(part._parameters.items()):
                if value is None or not _is_share(value):
                    continue
                if id(value) not in made:
                    made[id(value)] = nn.Parameter(_whole(value.detach()), requires_grad=value.requires_grad)
                part._parameters[name] = made[id(value)]


def share_of(value: Tensor, like: Tensor) -> Tensor:
    """This process's share of a whole tensor, where ``like`` is one; otherwise the tensor itself."""
    if not _is_share(like) or _is_share(value):
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements, src_data_rank=None)  # type: ignore[attr-defined]


def clip(parameters: Iterable[nn.Parameter], largest: float) -> None:
    """As ``clip_grad_norm_``, for shares and whole parameters side by side."""
    there = [p for p in parameters if p.grad is not None]
    if not there:
        return
    squares = torch.zeros(2, device=there[0].device)  # of what is whole, and of this process's shares
    for parameter in there:
        gradient = parameter.grad
        local = gradient.to_local() if _is_share(gradient) else gradient  # type: ignore[union-attr,arg-type]
        squares[int(_is_share(gradient))] += local.float().square().sum()  # type: ignore[union-attr,arg-type]
    torch.distributed.all_reduce(squares[1:])
    _scale(there, squares.sum(), largest)


def _scale(parameters: Iterable[nn.Parameter], squares: Tensor, largest: float) -> None:
    scale = float((largest / (squares.sqrt() + 1e-6)).clamp(max=1.0))
    for parameter in parameters:
        assert parameter.grad is not None
        parameter.grad.mul_(scale)


def _is_share(value: Tensor) -> bool:
    from torch.distributed.tensor import DTensor

    return isinstance(value, DTensor)


def _whole(value: Tensor) -> Tensor:
    return value.full_tensor() if _is_share(value) else value  # type: ignore[attr-defined]


def _reached(total: Tensor) -> set[int]:
    """Ids of the parameters that a gradient of ``total`` reaches."""
    found: set[int] = set()
    seen, todo = set(), [total.grad_fn]
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if (variable := getattr(node, "variable", None)) is not None:
            found.add(id(variable))
        todo += [after for after, _ in node.next_functions]
    return found
