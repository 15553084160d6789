#!/usr/bin/env python3
"""Loads quantized folders with the programs that are to load them. By hand, never in CI: about 6 GB of packages.

    python3 -m venv VENV && VENV/bin/pip install torch==2.15.0 transformers==5.23.0 compressed-tensors==0.20.0 accelerate mlx-cpu==0.32.4 mlx-lm==0.32.2
    VENV/bin/python .ci/loads.py QUANTIZE CHECKPOINT FOLDER [SCHEME...]

CHECKPOINT is one of the Llama family, as make_smollm2.py of the oracle makes it; FOLDER takes what is written. transformers must compute the same
logits from a quantized folder as from what quantize decodes it to, activations left as they are. A folder for MLX must have the tensors that mlx-lm's
own conversion makes of the checkpoint.
"""
import json
import pathlib
import subprocess
import sys

TOKENS = [[1, 504, 3575, 282, 4649, 314, 260, 2240, 28, 665, 253, 1837]]
COMPRESSED = ("w4a16", "w8a8", "w8a16", "fp8", "fp8-block", "nvfp4a16", "mxfp4a16")
MLX = {"mlx-3bit": (64, 3, "affine"), "mlx-4bit": (64, 4, "affine"), "mlx-6bit": (64, 6, "affine"), "mlx-8bit": (64, 8, "affine"), "mlx-mxfp4": (32, 4, "mxfp4")}
quantize, checkpoint, out = sys.argv[1], *map(pathlib.Path, sys.argv[2:4])


def write(source, scheme, folder):
    subprocess.run([quantize, source, "-t", scheme, "--force", "--quiet", "-o", folder], check=True)


def logits(folder):
    import torch
    from transformers import AutoModelForCausalLM
    with torch.no_grad():
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()(torch.tensor(TOKENS)).logits.float()


def in_transformers(scheme):
    coded, decoded = out / scheme, out / f"{scheme}-decoded"
    write(checkpoint, scheme, coded)
    write(coded, "safetensors-bf16", decoded)
    path = coded / "config.json"
    config = json.loads(path.read_text())
    for group in config["quantization_config"].get("config_groups", {}).values():
        group["input_activations"] = None
    path.write_text(json.dumps(config))
    difference = (logits(coded) - logits(decoded)).abs().max().item()
    return None if difference == 0 else f"logits differ by {difference}"


def in_mlx(scheme):
    import mlx.core as mx
    import mlx.nn as nn
    from mlx.utils import tree_flatten
    from mlx_lm.utils import load_model
    write(checkpoint, scheme, out / scheme)
    loaded, _ = load_model(out / scheme)
    loaded(mx.array(TOKENS))
    model, _ = load_model(checkpoint)
    group, bits, mode = MLX[scheme]
    nn.quantize(model, group, bits, mode=mode)
    expected, found = dict(tree_flatten(model.parameters())), mx.load(str(out / scheme / "model.safetensors"))
    if set(expected) != set(found):
        return f"tensors {sorted(set(expected) ^ set(found))[:4]}"
    wrong = [name for name, tensor in expected.items() if found[name].dtype != tensor.dtype or not mx.array_equal(found[name], tensor).item()]
    return f"{len(wrong)} tensors differ" if wrong else None


failed = False
for scheme in sys.argv[4:] or [*COMPRESSED, *MLX]:
    wrong = (in_mlx if scheme in MLX else in_transformers)(scheme)
    print(f"{'FAIL' if wrong else 'ok'}  {scheme}  {wrong or ''}".rstrip(), flush=True)
    failed |= bool(wrong)
sys.exit(failed)
