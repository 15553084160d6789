#!/usr/bin/env python3
"""Cuts small checkpoints of every quantized safetensors format out of the oracle's fixtures, with the decoded truth.

    python3 schemes.py ORACLE/schemes .

Writes schemes.safetensors, in which tensors are named CASE/TENSOR, and schemes.json: for each case config.json, the name and
shape of the weight that must come out, the type to which its values are rounded before they are compared, and the SHA-256 of
those values as f32; the type of the blocks that can hold it, and the SHA-256 of what these decode to, if that is not the same.
The fixtures were written by the packages of each format (their versions: ORACLE/schemes/INDEX.json); .ci/schemes.py makes
checkpoints of them.
"""
import hashlib
import importlib.util
import json
import pathlib
import sys

import numpy as np

spec = importlib.util.spec_from_file_location("cases", pathlib.Path(__file__).parents[2] / ".ci/schemes.py")
cases = importlib.util.module_from_spec(spec)
spec.loader.exec_module(cases)
Tensor = cases.Tensor


def rows(count, **lengths):
    """The first rows of every tensor that has one for each row of the weight; `lengths` are those of the others."""
    def cut(name, tensor, height):
        part = name.rsplit(".", 1)[-1]
        if part == "weight_shape":
            return Tensor("I64", [count, tensor.bits[1]])
        if part in lengths:
            return Tensor(tensor.dtype, tensor.bits[:lengths[part]])
        return Tensor(tensor.dtype, tensor.bits[:count]) if tensor.bits.ndim and len(tensor.bits) == height else tensor
    return lambda case: {name: cut(name, tensor, len(case.truth.bits)) for name, tensor in case.tensors.items()}, count


def columns(count, bits):
    """The first outputs of GPTQ's tensors, which lie side by side."""
    lengths = {"qweight": count, "qzeros": count * bits // 32, "scales": count}
    def cut(name, tensor):
        length = lengths.get(name.rsplit(".", 1)[-1])
        return Tensor(tensor.dtype, tensor.bits[:, :length]) if length else tensor
    return lambda case: {name: cut(name, tensor) for name, tensor in case.tensors.items()}, count


def whole(case):
    return case.tensors


# Which cases, and how they are cut.
CHOSEN = {
    **{f"ct_pack {bits} bits": (whole, None) for bits in range(1, 9)},
    **{f"ct_pack {bits} bits, zero points": (whole, None) for bits in range(1, 9)},
    **{f"ct_{name}": rows(2) for name in ("w4a16_sym_g128_f32", "w4a16_sym_g128_bf16", "w4a16_sym_g32_bf16", "w4a16_sym_chan_bf16", "w8a16_sym_g128_bf16",
       "w3a16_sym_g128_bf16", "w3a16_sym_g128_bf16, ten codes per word", "w3a16_sym_g128_bf16, g_idx of -1", "w8a8_bf16", "fp8_dynamic_bf16",
       "nvfp4a16_bf16", "mxfp4a16_bf16", "mxfp8_bf16", "mxfp6a16_bf16", "w4afp8_bf16", "fp8_tensor_bf16")},
    **{f"ct_{name}": rows(8, weight_zero_point=1) for name in ("w4a16_asym_g128_f32", "w4a16_asym_g64_bf16", "w4a16_asym_chan_bf16")},
    "ct_w8a16_asym_chan_bf16": rows(4, weight_zero_point=1),
    **{f"gptq_4b_{name}": columns(8, 4) for name in ("sym_g128, v2", "sym_g128, symmetric by its zero points", "sym_g128, zero points of v2 called v1",
       "asym_g128, v2", "asym_g128, v1 of GPTQModel", "asym_g128, v1 of AutoGPTQ", "sym_g128_actorder, v2")},
    **{f"gptq_8b_asym_g64, {name}": columns(4, 8) for name in ("v2", "v1 of GPTQModel")},
    "gptq_3b_asym_g128, v1 of GPTQModel": (whole, None),
    "gptq_2b_asym_g64, v1 of GPTQModel": columns(16, 2),
    "awq_gemm_g64": (whole, None),
    "fp8_block128_hf_ue8m0, row 127": (whole, None),
    "gptoss_mxfp4": (whole, None),
    **{f"bnb_{name}": (None, 4) for name in ("nf4", "nf4_double", "fp4")},
    "bnb_int8": rows(2),
    "modelopt_nvfp4": rows(2),
    "modelopt_mxfp4": rows(2),
    **{f"mlx_affine_{name}": rows(2) for name in ("2b g64", "3b g64, by module", "4b g128", "4b g32", "6b g64", "8b g64", "4b_f32 g64",
       "5b g64, rows that f16 holds", "4b g64, rows that f16 holds", "5b g64, taken for compressed-tensors")},
    **{f"mlx_{name}": rows(2) for name in ("mxfp4", "nvfp4", "mxfp8", "nvfp4_global")},
}


def first_blocks(case, count):
    """The first rows of bitsandbytes' tensors, flat."""
    weights = count * case.truth.bits.shape[1]
    lengths = {"weight": weights // 2, "absmax": weights // 64}
    tensors = {name: Tensor(t.dtype, t.bits[:lengths.get(name.rsplit(".", 1)[-1])]) for name, t in case.tensors.items()}
    state = next(name for name in tensors if "quant_state" in name)
    text = json.loads(tensors[state].bits.tobytes()) | {"shape": [count, case.truth.bits.shape[1]]}
    return tensors | {state: Tensor("U8", np.frombuffer(json.dumps(text).encode(), "u1"))}


def digest(values):
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


tensors, index = {}, {}
for case in cases.cases(pathlib.Path(sys.argv[1])):
    if case.label not in CHOSEN:
        continue
    cut, count = CHOSEN.pop(case.label)
    parts = cut(case) if cut else first_blocks(case, count)
    truth = Tensor(case.truth.dtype, case.truth.bits[:count])
    tensors |= {f"{case.label}/{name}": tensor for name, tensor in parts.items()}
    index[case.label] = {"config": case.config, "weight": case.name, "shape": truth.bits.shape, "rounded": truth.dtype, "sha256": digest(truth.f32()),
                         "blocks": case.blocks, "blocks_sha256": None if case.exact is None else digest(case.exact[:count])}
assert not CHOSEN, f"no such cases: {list(CHOSEN)}"
out = pathlib.Path(sys.argv[2])
cases.save(out / "schemes.safetensors", tensors)
lines = ",\n".join(f"{json.dumps(label)}: {json.dumps(case)}" for label, case in index.items())
(out / "schemes.json").write_text(f"{{\n{lines}\n}}\n")
