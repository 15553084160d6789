#!/usr/bin/env python3
"""Makes the golden file of what the packages of quantized safetensors formats write.

    python3 written.py ORACLE/schemes .

Needs numpy, torch 2.15.0 and compressed-tensors 0.20.0. Writes written.safetensors with the weights, in bf16, which holds them exactly, and
written.json: for each case the weight and the type that it is to be given, options of the command, and of every tensor that must come out type,
shape and the first 16 digits of its SHA-256. Most cases are made of the oracle's fixtures (.ci/written.py). In those of BF16 the
package rounded every intermediate, as it does on a CPU; `live` has the package compute in F32 with the scales as they are stored, as it does on a GPU.
"""
import hashlib
import json
import pathlib
import sys

import numpy as np
import torch
from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32
from compressed_tensors.quantization import QuantizationArgs
from compressed_tensors.quantization.lifecycle.forward import quantize
from compressed_tensors.quantization.utils.helpers import calculate_qparams

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / ".ci"))
import schemes
import written
from schemes import Tensor


def live(source):
    def case(label, options, args, packed=True, dtype="F32"):
        args = QuantizationArgs(**args)
        weight = torch.from_numpy(source.f32().copy())
        grouped = weight.unflatten(-1, (-1, args.group_size)) if args.group_size else weight.unsqueeze(1)
        low, high = grouped.amin(-1), grouped.amax(-1)
        scale, zero = calculate_qparams(low, high, args)
        if dtype == "BF16":
            # what the package makes of weights in BF16: rounded once, and again only where nothing is left to round
            scale = calculate_qparams(low.bfloat16(), high.bfloat16(), args)[0]
        number = Tensor(dtype, scale.float().numpy()) if dtype == "F32" else Tensor(dtype, scale.view(torch.uint16).numpy())
        codes = quantize(weight, scale.float(), zero, args, dtype=torch.int8 if args.type == "int" else torch.float8_e4m3fn)
        if not packed:
            kind = "I8" if args.type == "int" else "F8_E4M3"
            return written.Written(label, Tensor(dtype, source.f32()) if dtype == "F32" else source, options,
                                   {"weight": Tensor(kind, codes.view(torch.uint8).numpy().view("i1" if kind == "I8" else "u1")), "weight_scale": number})
        expected = {"weight_packed": Tensor("I32", pack_to_int32(codes, args.num_bits).numpy()), "weight_scale": number,
                    "weight_shape": Tensor("I64", weight.shape)}
        if not args.symmetric:
            expected["weight_zero_point"] = Tensor("I32", pack_to_int32(zero.to(torch.int8), args.num_bits, packed_dim=0).contiguous().numpy())
        return written.Written(label, Tensor(dtype, source.f32()) if dtype == "F32" else source, options, expected)

    def integers(bits, group=None, symmetric=True):
        strategy = {"strategy": "group", "group_size": group} if group else {"strategy": "channel"}
        return {"num_bits": bits, "type": "int", "symmetric": symmetric, **strategy}
    fp8 = {"num_bits": 8, "type": "float", "symmetric": True, "strategy": "channel"}
    for dtype in "F32", "BF16":
        yield case(f"w4a16 {dtype}", ["-t", "w4a16"], integers(4, 128), dtype=dtype)
        yield case(f"w4a16 g32 {dtype}", ["-t", "w4a16", "--group-size", "32"], integers(4, 32), dtype=dtype)
        yield case(f"w4a16 channel {dtype}", ["-t", "w4a16", "--group-size", "channel"], integers(4), dtype=dtype)
        yield case(f"w8a16 {dtype}", ["-t", "w8a16"], integers(8), dtype=dtype)
        yield case(f"w8a16 g64 {dtype}", ["-t", "w8a16", "--group-size", "64"], integers(8, 64), dtype=dtype)
        yield case(f"w8a8 {dtype}", ["-t", "w8a8"], integers(8), packed=False, dtype=dtype)
        yield case(f"fp8 {dtype}", ["-t", "fp8"], fp8, packed=False, dtype=dtype)
    yield case("w4a16 asymmetric g64", ["-t", "w4a16", "--asymmetric", "--group-size", "64"], integers(4, 64, False))
    yield case("w4a16 asymmetric channel", ["-t", "w4a16", "--asymmetric", "--group-size", "channel"], integers(4, None, False))
    yield case("w8a16 asymmetric", ["-t", "w8a16", "--asymmetric"], integers(8, None, False))


def live_blocks(source):
    args = QuantizationArgs(num_bits=8, type="float", symmetric=True, strategy="block", block_structure=[128, 128])
    weight = torch.from_numpy(source.f32().copy())
    blocks = weight.unflatten(-1, (-1, 128))
    low, high = blocks.amin((0, 2)).unsqueeze(0), blocks.amax((0, 2)).unsqueeze(0)
    for dtype, kind in ("F32", torch.float32), ("BF16", torch.bfloat16):
        scale, zero = calculate_qparams(low.to(kind), high.to(kind), args)
        codes = quantize(weight, scale.float(), zero, args, dtype=torch.float8_e4m3fn)
        number = Tensor(dtype, scale.numpy() if dtype == "F32" else scale.view(torch.uint16).numpy())
        yield written.Written(f"fp8-block-ct {dtype}", Tensor(dtype, source.f32()) if dtype == "F32" else source, ["-t", "fp8-block-ct"],
                              {"weight": Tensor("F8_E4M3", codes.view(torch.uint8).numpy()), "weight_scale": number})


def bf16_bits(tensor):
    return Tensor("BF16", tensor.f32().view("<u4") >> 16)


def row(tensor):
    return {"dtype": tensor.dtype, "shape": tensor.bits.shape, "sha256": hashlib.sha256(tensor.bits.tobytes()).hexdigest()[:16]}


folder, out = map(pathlib.Path, sys.argv[1:])
sources, index = {}, {}
blocks = Tensor("BF16", schemes.load(folder / "fp8_block128_hf_float.safetensors")["src_bf16"].bits[:128])
for case in [*written.cases(folder), *live(schemes.load(folder / "src_w.safetensors")["w_bf16"]), *live_blocks(blocks)]:
    if case.label == "ct_fp8_block_bf16":
        # a weight of its own for one scale: the oracle's check has it
        continue
    source, expected = case.source, case.expected
    if case.label.startswith("fp8_block128"):
        source = Tensor(source.dtype, source.bits[:128])
        expected = {"weight": Tensor("F8_E4M3", expected["weight"].bits[:128]), "weight_scale_inv": Tensor("F32", expected["weight_scale_inv"].bits[:1])}
    bits = bf16_bits(source)
    name = next((name for name, other in sources.items() if other.is_same(bits)), f"weight {len(sources)}")
    sources[name] = bits
    index[case.label] = {"source": name, "dtype": source.dtype, "options": list(case.options), "expected": {n: row(t) for n, t in expected.items()}}
schemes.save(out / "written.safetensors", sources)
lines = ",\n".join(f"{json.dumps(label)}: {json.dumps(case)}" for label, case in index.items())
(out / "written.json").write_text(f"{{\n{lines}\n}}\n")
