"""LoRA layers and norms that compute in fewer passes give what PEFT's and transformers' own give."""

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from tasks.training.lora import load_lora, with_lora
from tasks.training.norms import quicken_norms
from tests.training.tiny import tiny_model

TOKENS = torch.randint(0, 420, (2, 12), generator=torch.Generator().manual_seed(1))


def peft_s_own(model: Any) -> Any:
    return get_peft_model(model, LoraConfig(r=3, lora_alpha=6, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"))


def with_made_up_adapter(model: Any) -> Any:
    """LoRA starts with B = 0, from which A gets no gradient."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def loss_and_gradients(model: Any) -> list[Tensor]:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    loss = model(input_ids=TOKENS).logits.log_softmax(-1)[..., 7].sum()
    return [loss.detach(), *torch.autograd.grad(loss, trained)]


@pytest.mark.parametrize("family", ["llama", "neox", "qwen2"])
def test_loss_and_gradients_are_peft_s(family: str) -> None:
    """Some families' norms are in float32 whatever the model is, so not all of float64 is left."""
    ours = loss_and_gradients(with_made_up_adapter(with_lora(tiny_model(family).double(), rank=3, alpha=6)))
    theirs = loss_and_gradients(with_made_up_adapter(peft_s_own(tiny_model(family).double())))
    assert len(ours) == len(theirs) > 10
    for one, other in zip(ours, theirs, strict=True):
        assert one.dtype == other.dtype
        torch.testing.assert_close(one, other, rtol=1e-9 if family == "neox" else 1e-4, atol=1e-9 if family == "neox" else 1e-4)


def test_the_adapter_of_a_bfloat16_model_is_float32_and_so_are_its_gradients() -> None:
    model = with_made_up_adapter(with_lora(tiny_model().bfloat16(), rank=3, alpha=6))
    assert {parameter.dtype for parameter in model.parameters() if parameter.requires_grad} == {torch.float32}
    loss, *gradients = loss_and_gradients(model)
    assert loss.dtype == torch.bfloat16
    assert {gradient.dtype for gradient in gradients} == {torch.float32}


def test_what_is_saved_is_loaded_by_peft_and_by_us(tmp_path: Any) -> None:
    made = with_made_up_adapter(with_lora(tiny_model(), rank=3, alpha=6))
    made.save_pretrained(tmp_path)
    with torch.inference_mode():
        expected = made(input_ids=TOKENS).logits
        torch.testing.assert_close(load_lora(tiny_model(), tmp_path)(input_ids=TOKENS).logits, expected)
        plain = tiny_model()
        plain.load_adapter(str(tmp_path))
        torch.testing.assert_close(plain(input_ids=TOKENS).logits, expected, atol=1e-4, rtol=1e-4)  # sums in another order


class Wrapped(nn.Module):
    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm.double().requires_grad_(False)
        self.norm.weight.copy_(torch.linspace(0.5, 2, 16))  # type: ignore[operator, arg-type]


def test_a_root_mean_square_norm_is_replaced_by_one_that_computes_the_same() -> None:
    states = torch.randn(4, 16, generator=torch.Generator().manual_seed(3), dtype=torch.float64, requires_grad=True)
    model = Wrapped(LlamaRMSNorm(16, eps=1e-3))
    expected = model.norm(states)
    (theirs,) = torch.autograd.grad(expected.pow(3).sum(), states)
    quicken_norms(model)
    assert "forward" in vars(model.norm)
    found = model.norm(states)
    (ours,) = torch.autograd.grad(found.pow(3).sum(), states)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)  # theirs is float32 inside
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert torch.autograd.gradcheck(model.norm, states), "in float64, ours all the way"


@pytest.mark.parametrize("norm", [nn.LayerNorm(16), GemmaRMSNorm(16)], ids=["mean taken off", "one added to the weight"])
def test_another_norm_stays_as_it_is(norm: nn.Module) -> None:
    model = Wrapped(norm)
    quicken_norms(model)
    assert "forward" not in vars(model.norm)


def test_a_norm_that_is_trained_stays_as_it_is() -> None:
    norm = LlamaRMSNorm(16)
    quicken_norms(norm)
    assert "forward" not in vars(norm)
