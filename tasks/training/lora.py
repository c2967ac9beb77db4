"""LoRA layers that compute in the base model's own precision, with the adapter's weights in float32.

    model = with_lora(model, rank=16, alpha=32)
    model = load_lora(model, folder)

PEFT casts a layer's whole input to the adapter's float32 and its output back, which in bfloat16 on a CPU takes longer than the layer's own product.
Here the adapter's small matrices are cast instead. Names, weights and files stay PEFT's.
"""

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import Linear
from torch import Tensor, nn

from tasks.training.norms import quicken_norms

ADAPTER = "default"  # PEFT's name for a model's only adapter


def with_lora(model: Any, *, rank: int, alpha: int) -> Any:
    """The model with LoRA (Hu et al. 2022) on every linear layer. No dropout: the same pairs give the same gradients however they are batched."""
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")
    return _quickened(get_peft_model(model, config))


def load_lora(model: Any, folder: Path) -> Any:
    """The model with an adapter that was saved before."""
    return _quickened(PeftModel.from_pretrained(model, str(folder)))


def _quickened(model: Any) -> Any:
    """The same model; its plain LoRA layers and its norms from now on compute by functions of ours. Quantised layers stay as they are."""
    for layer in model.modules():
        if type(layer) is Linear and type(layer.base_layer) is nn.Linear:
            layer.forward = _Forward(layer)
    quicken_norms(model)
    return model


class _Forward:
    """A layer's forward. Its parameters are looked up at each call: they may have been loaded anew, or gathered."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer

    def __call__(self, states: Tensor) -> Tensor:
        base, down, up = self._layer.base_layer, self._layer.lora_A[ADAPTER].weight, self._layer.lora_B[ADAPTER].weight
        found: Tensor = _LoraLinear.apply(states, base.weight, base.bias, down, up, self._layer.scaling[ADAPTER])  # type: ignore[no-untyped-call]
        return found


class _LoraLinear(torch.autograd.Function):
    """y = x W' + b + s (x A') B' (Hu et al. 2022, section 4.1) and the gradients of x, A and B; W and b are frozen."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scale: float) -> Tensor:
        flat, ctx.scale, ctx.kept = states.flatten(0, -2), scale, down.dtype
        down, up = down.to(flat.dtype), up.to(flat.dtype)
        low = nn.functional.linear(flat, down)  # [tokens, rank]
        out = nn.functional.linear(flat, weight, bias).addmm_(low, up.T, alpha=scale)
        ctx.save_for_backward(flat, weight, down, up, low)
        return out.view(*states.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        flat, weight, down, up, low = ctx.saved_tensors
        gradient = gradients[0].flatten(0, -2)
        of_low = (gradient @ up) * ctx.scale  # [tokens, rank]
        of_states = (gradient @ weight).addmm_(of_low, down)
        of_down = (of_low.T @ flat).to(ctx.kept)
        of_up = ((gradient.T @ low) * ctx.scale).to(ctx.kept)
        return of_states.view(*gradients[0].shape[:-1], -1), None, None, of_down, of_up, None
