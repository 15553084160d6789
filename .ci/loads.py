#!/usr/bin/env python3
"""Loads quantized folders with the programs that are to load them. By hand, never in CI: about 6 GB of packages.

    python3 -m venv VENV && VENV/bin/pip install torch==2.15.0 transformers==5.23.0 compressed-tensors==0.20.0 accelerate 'mlx[cpu]==0.32.4' mlx-lm==0.32.2
    VENV/bin/pip install --no-build-isolation optimum==2.3.0 gptqmodel==7.7.0       (for gptq and awq)
    VENV/bin/python .ci/loads.py QUANTIZE CHECKPOINT FOLDER ['SCHEME[:METHOD] [OPTION...]'...]
    VENV/bin/python .ci/loads.py QUANTIZE --experts FOLDER [MODEL_TYPE...]

CHECKPOINT is one of the Llama family, as make_smollm2.py of the oracle makes it; FOLDER takes what is written. transformers must compute the same
logits from a quantized folder as from what quantize decodes it to, activations left as they are; with a METHOD, as in w4a16:gptq, what is chosen
on 12 sequences of the texts that come with the program is in the folder. GPTQModel's module must decode what it loads of a
folder to what quantize decodes it to. A folder for MLX must have the tensors that mlx-lm's own conversion makes of the checkpoint. With --experts
small random models with experts take the place of CHECKPOINT, each in the forms that its readers load.
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys

os.environ |= {"TQDM_DISABLE": "1", "TRANSFORMERS_VERBOSITY": "error", "HF_HUB_OFFLINE": "1"}
TOKENS = [[1, 50, 75, 282, 46, 31, 260, 22, 28, 66, 253, 183]]
COMPRESSED = ("w4a16", "w4a16 --group-size 32", "w4a16 --group-size 64", "w4a16 --group-size channel", "w4a16 --search mse-signed",
              "w4a16 --asymmetric", "w8a8", "w8a16", "fp8", "fp8-block", "fp8-block-ct", "nvfp4a16", "mxfp4a16")
CALIBRATED = ("w4a16:gptq", "w4a16:awq", "w4a16:awq,gptq", "w8a8:smoothquant", "w8a8:smoothquant,gptq")
MLX = {"mlx-2bit": "affine", "mlx-3bit": "affine", "mlx-4bit": "affine", "mlx-5bit": "affine", "mlx-6bit": "affine", "mlx-8bit": "affine", "mlx-mxfp4": "mxfp4"}
PACKED = ("gptq", "gptq-8bit", "awq")
SMALL = dict(hidden_size=128, intermediate_size=256, moe_intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=32,
             vocab_size=285, num_experts=4, num_local_experts=4, n_routed_experts=4, num_experts_per_tok=2, max_position_embeddings=256, pad_token_id=0,
             bos_token_id=1, eos_token_id=2, tie_word_embeddings=False)
LATENT = dict(kv_lora_rank=128, qk_nope_head_dim=64, qk_rope_head_dim=32, v_head_dim=64, n_shared_experts=1, n_group=1, topk_group=1, first_k_dense_replace=1,
              num_key_value_heads=4)
# What else a model needs, and who loads it: transformers puts single experts together where it knows their names, mlx-lm loads its stacks.
EXPERTS = {
    "qwen2_moe": (dict(shared_expert_intermediate_size=128), "both"),
    "qwen3_moe": ({}, "both"),
    "mixtral": ({}, "both"),
    "olmoe": ({}, "both"),
    "deepseek_v2": (dict(LATENT, q_lora_rank=None, topk_method="greedy"), "servers"),
    "deepseek_v3": (dict(LATENT, q_lora_rank=128), "both"),
    "glm4_moe": (dict(n_group=1, topk_group=1, first_k_dense_replace=1, n_shared_experts=1), "both"),
    "granitemoe": ({}, "mlx"),
    # mlx-lm loads no unquantized one: the logits must be close to those of transformers
    "gpt_oss": (dict(intermediate_size=128, layer_types=["sliding_attention", "full_attention"]), "logits"),
}
quantize, checkpoint, out = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])


def parts(case):
    """The scheme, the method or nothing, and the options."""
    name, *options = case.split()
    scheme, _, method = name.partition(":")
    return scheme, method, options


def write(source, case, folder, *more):
    scheme, method, options = parts(case)
    options += more
    options += ["--calibrate", "--chunks", "12", "--method", method] if method else []
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([quantize, source, "-t", scheme, "--quiet", "-o", folder, *options], check=True)


def logits(folder, **options):
    import torch
    from transformers import AutoModelForCausalLM
    with torch.no_grad():
        model, found = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, output_loading_info=True, **options)
        wrong = {key: sorted(map(str, names))[:3] for key, names in found.items() if names}
        return wrong, model.eval()(torch.tensor(TOKENS)).logits.float()


def in_transformers(source, scheme, **options):
    if "--asymmetric" in scheme:
        from transformers import CompressedTensorsConfig
        options["quantization_config"] = CompressedTensorsConfig(dequantize=True)
    coded, decoded = out / scheme, out / f"{scheme}-decoded"
    write(source, scheme, coded)
    write(coded, "safetensors-bf16", decoded)
    path = coded / "config.json"
    config = json.loads(path.read_text())
    for group in config["quantization_config"].get("config_groups", {}).values():
        group["input_activations"] = None
    path.write_text(json.dumps(config))
    (wrong, found), (_, expected) = logits(coded, **options), logits(decoded)
    if wrong:
        return f"{wrong}"
    difference = (found - expected).abs().max().item()
    return None if difference == 0 else f"logits differ by {difference}"


def in_mlx(source, scheme):
    import mlx.core as mx
    import mlx.nn as nn
    from mlx.utils import tree_flatten
    from mlx_lm.utils import load_model
    write(source, scheme, out / scheme, "--search", "absmax")
    loaded, config = load_model(out / scheme)
    loaded(mx.array(TOKENS))
    found = dict(tree_flatten(loaded.parameters()))
    if scheme == "mlx-4bit" and (left := [name for name, tensor in found.items() if tensor.ndim > 2 and tensor.dtype != mx.uint32 and f"{name[:-7]}.scales" not in found and tensor.shape[-1] > 1 and ".scales" not in name and ".biases" not in name]):
        return f"not quantized: {left[:3]}"
    model, _ = load_model(pathlib.Path(source))
    settings = config["quantization"]
    def choice(path, _):
        own = settings.get(path) or {"group_size": settings["group_size"], "bits": settings["bits"]}
        return f"{path}.scales" in found and {**own, "mode": MLX[scheme]}
    nn.quantize(model, class_predicate=choice)
    expected = dict(tree_flatten(model.parameters()))
    if set(expected) != set(found):
        return f"tensors {sorted(set(expected) ^ set(found))[:4]}"
    wrong = [name for name, tensor in expected.items() if found[name].dtype != tensor.dtype or not mx.array_equal(found[name], tensor).item()]
    return f"{len(wrong)} tensors differ: {wrong[:3]}" if wrong else None


def in_gptqmodel(source, scheme):
    import torch
    from safetensors.torch import load_file
    coded, decoded = out / scheme, out / f"{scheme}-decoded"
    write(source, scheme, coded)
    write(coded, "safetensors-f32", decoded)
    packed, expected = load_file(coded / "model.safetensors"), load_file(decoded / "model.safetensors")
    modules = sorted({name.rpartition(".")[0] for name in packed if name.endswith(".qweight")})
    settings = json.loads((coded / "config.json").read_text())["quantization_config"]
    wrong = [module for module in modules if not torch.equal(dequantized(module, packed, settings), expected[f"{module}.weight"].half())]
    return f"{len(wrong)} of {len(modules)} differ: {wrong[:3]}" if wrong or not modules else None


def dequantized(name, packed, settings):
    """What GPTQModel's own code makes of a weight, in half precision."""
    import torch
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear
    from gptqmodel.quantization.awq.utils.packing_utils import dequantize_gemm
    from gptqmodel.utils.model import convert_gptq_v1_to_v2_format_module
    own = {part: packed[f"{name}.{part}"] for part in ("qweight", "qzeros", "scales", "g_idx") if f"{name}.{part}" in packed}
    bits, group = settings["bits"], settings["group_size"]
    if settings["quant_method"] == "awq":
        return dequantize_gemm(own["qweight"], own["qzeros"], own["scales"], bits, group).T.contiguous()
    module = TorchLinear(bits=bits, group_size=group, sym=settings["sym"], desc_act=settings["desc_act"], bias=False, pack_dtype=torch.int32,
                         in_features=len(own["qweight"]) * 32 // bits, out_features=own["scales"].shape[1], register_buffers=True)
    unexpected = module.load_state_dict(own, strict=False).unexpected_keys
    assert not unexpected, unexpected
    convert_gptq_v1_to_v2_format_module(module=module, bits=bits, pack_dtype=torch.int32)
    return module.dequantize_weight().T.contiguous()


def small(kind, folder):
    """A random model with experts."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    torch.manual_seed(0)
    own = EXPERTS[kind][0]
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **{**SMALL, **own}), dtype=torch.bfloat16)
    with torch.no_grad():
        # what is left at one value would hide a mistake
        for tensor in model.parameters():
            tensor.copy_(torch.randn_like(tensor) * 0.05)
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    # which mlx-lm knows as they were called before
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({"rope_theta": 10000.0, "rope_scaling": None, "partial_rotary_factor": 0.5, "num_experts": 4, **config}))
    for name in "tokenizer.json", "tokenizer_config.json":
        shutil.copy(pathlib.Path(__file__).parent.parent / "tests/fixtures/tiny-llama" / name, folder / name)


def of_experts(kind):
    folder = out / kind
    small(kind, folder)
    # transformers 5.23 leaves out the divisors of NVFP4's experts
    for scheme in ("w4a16", "w8a16", "fp8") if EXPERTS[kind][1] in ("both", "servers") else ():
        from transformers import CompressedTensorsConfig
        yield scheme, lambda: in_transformers(folder, scheme, quantization_config=CompressedTensorsConfig(dequantize=True))
    for scheme in MLX if EXPERTS[kind][1] in ("both", "mlx") else ():
        yield scheme, lambda: in_mlx(folder, scheme)
    if EXPERTS[kind][1] == "logits":
        yield "mlx-8bit", lambda: close_in_mlx(folder, "mlx-8bit")


def close_in_mlx(source, scheme):
    import mlx.core as mx
    import numpy as np
    import torch
    from mlx_lm.utils import load_model
    write(source, scheme, out / scheme)
    found = np.array(load_model(out / scheme)[0](mx.array(TOKENS)).astype(mx.float32))
    expected = logits(source)[1].numpy()
    difference = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    return None if difference < 0.05 else f"logits differ by {difference:.3f} of their norm"


def cases():
    if checkpoint == "--experts":
        for kind in sys.argv[4:] or EXPERTS:
            yield from ((f"{kind} {scheme}", act) for scheme, act in of_experts(kind))
        return
    for case in sys.argv[4:] or [*COMPRESSED, *CALIBRATED, *PACKED, *MLX]:
        scheme = parts(case)[0]
        way = in_mlx if scheme in MLX else in_gptqmodel if scheme in PACKED else in_transformers
        yield case, lambda: way(checkpoint, case)


failed = False
for label, act in cases():
    try:
        wrong = act()
    except Exception as error:
        wrong = f"{type(error).__name__}: {error}"[:400]
    print(f"{'FAIL' if wrong else 'ok'}  {label}  {wrong or ''}".rstrip(), flush=True)
    failed |= bool(wrong)
sys.exit(failed)
