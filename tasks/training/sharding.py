"""A model that is spread over processes (FSDP2): each keeps its share of the frozen weights, and a layer's are gathered while it computes.

    if wants_sharding(accelerator):
        shard(scorer, device=accelerator.device)

The adapter, about a hundredth of the model, stays whole on every process, and so do its gradients and the optimizer's state: they are summed over
processes, clipped and kept by checkpoints as without sharding, and a run may go on with another number of processes.
"""

from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import parse_flag_from_env
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard


def wants_sharding(accelerator: Accelerator) -> bool:
    """Whether the hardware file says `distributed_type: FSDP`. Accelerate's own distributed_type repeats it on GPUs only; this is what it goes by."""
    return accelerator.num_processes > 1 and bool(parse_flag_from_env("ACCELERATE_USE_FSDP"))


def is_sharded(scorer: nn.Module) -> bool:
    return isinstance(scorer, FSDPModule)


def shard(scorer: Any, *, device: torch.device) -> None:
    """Move to `device`, layer after layer, this process's share of the scorer's frozen weights, and the whole adapter.

    Layers are gathered one at a time; the rest (embeddings, last norm, output layer) for as long as the scorer's own forward and backward take. Its
    forward therefore has to be called on all processes as often as on any.
    """
    adapter = {parameter for parameter in scorer.parameters() if parameter.requires_grad}
    for parameter in adapter:
        parameter.data = parameter.data.to(device)
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    for part in [*_layers(scorer.model), scorer]:
        fully_shard(part, mesh=mesh, ignored_params=adapter)


def _layers(model: Any) -> list[nn.Module]:
    decoder = model.get_base_model().get_decoder()
    return [layer for child in decoder.children() if isinstance(child, nn.ModuleList) for layer in child]


def forget_broken_forward(scorer: nn.Module) -> None:
    """After a forward that ended in an error on every process: what was gathered is let go, and the next one begins anew."""
    if isinstance(scorer, FSDPModule):
        scorer.reset_iter_state()
