"""Where a model comes from, and what happens when it cannot be had."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tasks.errors import InputError
from tasks.files import FileSet
from tasks.study import ModelSection
from tasks.training.model import choose_dtype, load_model, prepare_model
from tests.training.tiny import save_model

FLOAT32 = ModelSection(dtype="float32")


def test_a_folder_is_used_where_it_lies(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "mine")
    found = prepare_model(str(folder), cache=tmp_path / "cache")
    assert found.folder == str(folder)
    assert not (tmp_path / "cache").exists()
    assert load_model(folder, FLOAT32).model.config.num_hidden_layers == 2


def test_a_name_that_cannot_be_had_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match="'nobody/no-such-model' cannot be had") as raised:
        prepare_model("nobody/no-such-model", cache=tmp_path)
    assert "`sample`" in str(raised.value)


def test_a_folder_that_holds_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no config.json"):
        prepare_model(str(tmp_path), cache=tmp_path)


@pytest.mark.parametrize(("lost", "named"), [("tokenizer.json", "no tokenizer.json"), ("model.safetensors", r"no \*.safetensors")])
def test_a_folder_that_lacks_a_part_is_refused_before_it_is_loaded(tmp_path: Path, lost: str, named: str) -> None:
    folder = save_model(tmp_path / "mine")
    (folder / lost).unlink()
    with pytest.raises(InputError, match=named):
        prepare_model(str(folder), cache=tmp_path)


def test_a_model_that_cannot_be_loaded_says_which_and_what_was_expected(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "mine")
    (folder / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(InputError, match="cannot be loaded.*Expected a causal language model"):
        load_model(folder, FLOAT32)


def test_weights_in_4_bits_are_refused_where_there_is_no_cuda(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "mine")
    with pytest.raises(InputError, match="4bit needs a CUDA device, and this is cpu. Leave model.quantization out"):
        load_model(folder, ModelSection(quantization="4bit"), device=torch.device("cpu"))


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"amx_bf16": True, "avx512_bf16": True, "cpu_name": "Intel(R) Xeon(R)"}, torch.bfloat16),
        ({"amx_bf16": False, "avx512_bf16": True, "cpu_name": "Intel(R) Xeon(R)"}, torch.float32),
        ({"amx_bf16": False, "avx512_bf16": True, "cpu_name": "AMD EPYC"}, torch.bfloat16),
        ({"amx_bf16": False, "avx512_bf16": False, "cpu_name": "AMD EPYC"}, torch.float32),
        ({"neon": True, "bf16": True}, torch.float32),
    ],
)
def test_a_cpu_computes_in_bfloat16_where_that_is_faster(found: dict[str, Any], expected: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    assert choose_dtype("auto", torch.device("cpu")) == expected


def test_a_type_that_is_asked_for_is_taken() -> None:
    assert choose_dtype("float32", torch.device("cpu")) == torch.float32
    assert choose_dtype("bfloat16", torch.device("cpu")) == torch.bfloat16


@pytest.mark.flow
def test_the_sample_model_is_converted_once_and_its_card_names_the_loss(sample_model: FileSet) -> None:
    cache = Path(sample_model.folder).parent
    written = sample_model.path("model.safetensors").stat().st_mtime_ns
    second = prepare_model("sample", cache=cache)
    assert second == sample_model
    assert sample_model.path("model.safetensors").stat().st_mtime_ns == written
    assert "quantised to 4 bits" in sample_model.path("README.md").read_text(encoding="utf-8")
    assert [path.name for path in cache.iterdir()] == [Path(sample_model.folder).name]
