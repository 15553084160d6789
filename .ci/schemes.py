"""Quantized safetensors checkpoints made of the oracle's fixtures, each with its decoded truth.

A case is a folder with config.json and model.safetensors, whose tensors have the names of a real checkpoint, and the weights
that must come out. Truth in bf16 or f16 is compared after rounding ours to it, which is what the fixtures' packages did.
"""
import json
import math
import struct

import numpy as np

DTYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "U32": "<u4", "I8": "i1", "U8": "u1", "F8_E4M3": "u1", "F8_E8M0": "u1"}


class Tensor:
    """A tensor as it lies in a safetensors file; of the types that numpy lacks, the bits."""

    def __init__(self, dtype, bits):
        self.dtype, self.bits = dtype, np.ascontiguousarray(bits, dtype=DTYPES[dtype])

    def f32(self):
        return (self.bits.astype("<u4") << 16).view("<f4") if self.dtype == "BF16" else self.bits.astype("<f4")

    def is_same(self, other):
        """Whether the other, which may not be there, has the same bytes."""
        if other is None:
            return False
        return (self.dtype, self.bits.shape, self.bits.tobytes()) == (other.dtype, other.bits.shape, other.bits.tobytes())


def load(path):
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    body, header = data[8 + length:], json.loads(data[8:8 + length])
    rows = ((name, row) for name, row in header.items() if name != "__metadata__")
    return {name: Tensor(row["dtype"], np.frombuffer(body[slice(*row["data_offsets"])], DTYPES[row["dtype"]]).reshape(row["shape"]))
            for name, row in rows}


def save(path, tensors):
    header, body = {}, b""
    for name, tensor in sorted(tensors.items(), key=lambda item: -item[1].bits.itemsize):
        data = tensor.bits.tobytes()
        header[name] = {"dtype": tensor.dtype, "shape": tensor.bits.shape, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def bf16(x):
    bits = x.astype("<f4").view("<u4")
    return ((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000).view("<f4")


def rounded(x, like):
    """f32 numbers in the precision of the truth."""
    with np.errstate(over="ignore"):
        return {"BF16": bf16, "F16": lambda x: x.astype("<f2").astype("<f4"), "F32": lambda x: x}[like.dtype](x)


def stream(words, bits):
    """The codes of rows that are streams of bits."""
    rows = np.unpackbits(np.ascontiguousarray(words).view("u1"), axis=1, bitorder="little")
    count = rows.shape[1] // bits
    return (rows[:, :count * bits].reshape(len(rows), count, bits) * (1 << np.arange(bits))).sum(-1)


class Case:
    """`tensors` make a checkpoint in which the weight `name` is `truth`; `blocks` if they must be exact blocks of ours.

    truth: a Tensor. If MLX's product was rounded, `blocks` are compared with `exact` instead."""

    def __init__(self, label, config, tensors, name, truth, blocks=None, exact=None):
        self.label, self.config, self.tensors = label, config, tensors
        self.name, self.truth, self.blocks, self.exact = name, truth, blocks, exact

    def write(self, folder):
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(self.config))
        save(folder / "model.safetensors", self.tensors)

    def check(self, decoded, dequantize):
        """What is wrong with the tensors that were decoded, if anything."""
        if self.name not in decoded:
            return f"no {self.name} among {', '.join(decoded)}"
        ours, truth = decoded[self.name].bits, self.truth.f32()
        if ours.shape != truth.shape:
            return f"shape {ours.shape} instead of {truth.shape}"
        wrong = np.count_nonzero(rounded(ours, self.truth).view("<u4") != truth.view("<u4"))
        if wrong:
            return f"{wrong} of {truth.size} weights differ"
        found = [name.split("#")[1] for name in decoded if name.startswith(f"{self.name}#")]
        if found != ([self.blocks] if self.blocks else []):
            return f"blocks of {found} instead of {self.blocks}"
        if self.blocks:
            columns = ours.shape[-1]
            blocks = decoded[f"{self.name}#{self.blocks}"].bits.reshape(ours.size // columns, -1)
            again = dequantize(self.blocks, blocks, columns).reshape(ours.shape)
            want = ours if self.exact is None else self.exact
            # ggml's tables of 4-bit floats have one zero
            if self.blocks in ("MXFP4", "NVFP4"):
                again, want = again + np.float32(0), want + np.float32(0)
            wrong = np.count_nonzero(again.view("<u4") != want.view("<u4"))
            return f"{wrong} of {truth.size} weights of the {self.blocks} blocks differ" if wrong else None
        return None


MODULE = "model.layers.0.mlp.up_proj"


def cases(folder):
    """All cases that the fixtures in `folder` give."""
    manifest = {}
    for name in "ct", "gptq_awq", "misc", "mlx":
        manifest |= json.loads((folder / f"manifest_{name}.json").read_text())
    for file, entry in manifest.items():
        label = file.removesuffix(".safetensors")
        kinds = [kind for prefix, kind in KINDS.items() if label.startswith(prefix)]
        for kind in kinds[:1]:
            yield from kind(label, entry, load(folder / file))
    for path in sorted(folder.glob("e2e_ct_*")):
        yield Whole(path, load(folder / "e2e_bf16/model.safetensors"))


def compressed(label, entry, fixture):
    if label == "ct_pack":
        yield from packings(fixture)
        return
    config = {"quantization_config": {"quant_method": "compressed-tensors", "format": entry["format"], "transform_config": {},
                                      "quantization_status": "compressed", "config_groups": {"group_0": entry["scheme"]}}}
    tensors = {name.replace("compressed", MODULE): tensor for name, tensor in fixture.items() if name.startswith("compressed")}
    tensors |= {f"{MODULE}.input_scale": Tensor("F32", [1]), f"{MODULE}.bias": Tensor("F32", [1])}
    weights = entry["scheme"]["weights"]
    blocks = None
    if weights["type"] == "int" and weights["symmetric"] and label.endswith("bf16"):
        blocks = "Q4_0" if "weight_packed" in str(fixture.keys()) and weights["num_bits"] < 5 else "Q8_0"
    elif entry["format"] == "mxfp4-pack-quantized":
        blocks = "MXFP4"
    yield Case(label, config, tensors, f"{MODULE}.weight", fixture["dequant"], blocks)
    if label.startswith("ct_w3a16"):
        old = dict(tensors)
        codes = stream(fixture["compressed.weight_packed"].bits, 3)[:, :256].astype("<u4")
        padded = np.pad(codes, ((0, 0), (0, -256 % 10))).reshape(32, -1, 10)
        old[f"{MODULE}.weight_packed"] = Tensor("I32", (padded << (3 * np.arange(10, dtype="<u4"))).sum(-1).astype("<u4").view("<i4"))
        yield Case(f"{label}, ten codes per word", config, old, f"{MODULE}.weight", fixture["dequant"], blocks)
        ordered = dict(tensors)
        ordered[f"{MODULE}.weight_g_idx"] = Tensor("I32", np.full(256, -1))
        yield Case(f"{label}, g_idx of -1", config, ordered, f"{MODULE}.weight", fixture["dequant"], blocks)


def packings(fixture):
    """Codes and zero points of every number of bits, in rows and columns that do not fill the last word."""
    for bits in range(1, 9):
        half = 1 << (bits - 1)
        group = {"targets": ["Linear"], "format": "pack-quantized", "weights": {"num_bits": bits, "type": "int"}}
        config = {"quantization_config": {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {"g": group}}}
        values, zeros = fixture[f"b{bits}.values"], fixture[f"b{bits}.values0"]

        def tensors(packed, shape, **more):
            scale = Tensor("F32", np.ones((shape[0], shape[1] if more else 1)))
            parts = {"packed": packed, "shape": Tensor("I64", shape), "scale": scale, **more}
            return {f"{MODULE}.weight_{part}": tensor for part, tensor in parts.items()}
        parts = tensors(fixture[f"b{bits}.packed_dim1"], [3, 45])
        yield Case(f"ct_pack {bits} bits", config, parts, f"{MODULE}.weight", Tensor("F32", values.bits))
        empty = Tensor("I32", np.zeros((37, math.ceil(3 * bits / 32))))
        parts = tensors(empty, [37, 3], zero_point=fixture[f"b{bits}.packed_dim0"])
        yield Case(f"ct_pack {bits} bits, zero points", config, parts, f"{MODULE}.weight", Tensor("F32", -half - zeros.bits.astype("<f4")))


def gptq(label, entry, fixture):
    settings = {"quant_method": "gptq", "bits": entry["bits"], "group_size": entry["group_size"], "desc_act": entry["desc_act"], "sym": entry["sym"]}
    truth, bits = fixture["dequant_f16"], entry["bits"]
    blocks = "Q4_0" if entry["sym"] and not entry["desc_act"] else None
    parts = {part: fixture[f"v2.{part}"] for part in ("qweight", "qzeros", "scales", "g_idx")}

    def case(name, more, truth=truth, blocks=blocks, **changed):
        tensors = {f"{MODULE}.{part}": tensor for part, tensor in {**parts, **changed}.items() if tensor}
        return Case(f"{label}, {name}", {"quantization_config": settings | more}, tensors, f"{MODULE}.weight", truth, blocks)
    yield case("v2", {"checkpoint_format": "gptq_v2"})
    if not entry["desc_act"]:
        yield case("no g_idx", {"checkpoint_format": "gptq_v2"}, g_idx=None)
    if "v1_gptqmodel.qzeros" not in fixture:
        return
    meta = {"meta": {"quantizer": ["gptqmodel:7.3.4"]}}
    yield case("v1 of GPTQModel", {"checkpoint_format": "gptq", **meta}, qzeros=fixture["v1_gptqmodel.qzeros"])
    # AutoGPTQ's packer lost the zero points beside one of 0: what is stored counts.
    stored = stream(fixture["v1_autogptq.qzeros"].bits, bits)
    zeros = stored + 1 & (1 << bits) - 1
    codes = stream(np.ascontiguousarray(fixture["v2.qweight"].bits.T), bits)
    groups = fixture["v2.g_idx"].bits
    weights = (codes - zeros[groups].T).astype("<f4") * fixture["v2.scales"].f32()[groups].T
    yield case("v1 of AutoGPTQ", {"format": "gptq"}, Tensor("F16", weights.astype("<f2")), qzeros=fixture["v1_autogptq.qzeros"])
    if entry["sym"]:
        unsaid = {"sym": None, "checkpoint_format": "gptq"}
        yield case("symmetric by its zero points", unsaid, qzeros=fixture["v1_gptqmodel.qzeros"])
        yield case("zero points of v2 called v1", unsaid)
        yield case("symmetric, whatever is stored", {"checkpoint_format": "gptq"}, qzeros=fixture["v1_autogptq.qzeros"])


def awq(label, entry, fixture):
    settings = {"quant_method": "awq", "bits": 4, "group_size": entry["group_size"], "zero_point": True, "version": "gemm"}
    tensors = {f"{MODULE}.{part}": fixture[part] for part in ("qweight", "qzeros", "scales")}
    yield Case(label, {"quantization_config": settings}, tensors, f"{MODULE}.weight", fixture["dequant_f16"])
    # With scales that are powers of two, blocks with a minimum hold the weights exactly.
    group, scales = entry["group_size"], np.exp2(np.round(np.log2(fixture["scales"].f32())))
    codes, zeros = (stream(fixture[part].bits, 4).reshape(-1, 4, 8)[:, :, [0, 4, 1, 5, 2, 6, 3, 7]].reshape(-1, 32) for part in ("qweight", "qzeros"))
    truth = (codes.astype("<f4") - np.repeat(zeros, group, 0)) * np.repeat(scales, group, 0)
    tensors = {**tensors, f"{MODULE}.scales": Tensor("F16", scales.astype("<f2"))}
    yield Case(f"{label}, powers of two", {"quantization_config": settings}, tensors, f"{MODULE}.weight", Tensor("F32", truth.T), "Q4_1")


def block_fp8(label, entry, fixture):
    settings = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
    tensors = {f"{MODULE}.{part}": fixture[part] for part in ("weight", "weight_scale_inv")}
    truth = fixture.get("dequant_bf16")
    if truth is None:
        some = fixture["dequant_bf16_rows_0_127_128_255"]
        scale = fixture["weight_scale_inv"].bits
        # the rows that the fixture has, each in a checkpoint of its own block
        for row, at in enumerate((0, 127, 128, 255)):
            one = {f"{MODULE}.weight": Tensor("F8_E4M3", fixture["weight"].bits[at:at + 1]),
                   f"{MODULE}.weight_scale_inv": Tensor("F8_E8M0", scale[at // 128:][:1])}
            yield Case(f"{label}, row {at}", {"quantization_config": settings}, one, f"{MODULE}.weight", Tensor("BF16", some.bits[row:row + 1]))
        bytes_ = {**tensors, f"{MODULE}.weight_scale_inv": Tensor("U8", scale)}
        whole = (fixture["weight"], scale, some)
        yield Rows(f"{label}, four of all rows", {"quantization_config": settings}, tensors, whole)
        yield Rows(f"{label}, scales as bytes", {"quantization_config": settings}, bytes_, whole)
        return
    yield Case(label, {"quantization_config": settings}, tensors, f"{MODULE}.weight", truth)
    scale_named = {"quantization_config": {"quant_method": "fp8"}}
    renamed = {f"{MODULE}.weight": fixture["weight"], f"{MODULE}.scale": fixture["weight_scale_inv"]}
    yield Case(f"{label}, block size unsaid, .scale", scale_named, renamed, f"{MODULE}.weight", truth)


class Rows(Case):
    """A weight of which the fixture has rows 0, 127, 128 and 255."""

    def __init__(self, label, config, tensors, whole):
        super().__init__(label, config, tensors, f"{MODULE}.weight", whole[2])

    def check(self, decoded, dequantize):
        decoded[self.name] = Tensor("F32", decoded[self.name].bits[[0, 127, 128, 255]])
        return super().check(decoded, dequantize)


class Whole(Case):
    """A whole checkpoint, whose weights are nearly those that it was made from."""

    def __init__(self, folder, original):
        super().__init__(folder.name, json.loads((folder / "config.json").read_text()), load(folder / "model.safetensors"), None, None)
        self.original = original

    def check(self, decoded, dequantize):
        weights = {name: tensor.bits for name, tensor in decoded.items() if "#" not in name}
        if set(weights) != set(self.original):
            return f"weights {sorted(weights)}"
        for name, original in self.original.items():
            error = np.linalg.norm(weights[name] - original.f32()) / np.linalg.norm(original.f32())
            if not error < (0.15 if "proj" in name else 1e-9):
                return f"{name} is off by {error:.3}"
        return None


def gpt_oss(label, _, fixture):
    name = "model.layers.0.mlp.experts.gate_up_proj"
    tensors = {f"{name}_{part}": fixture[f"mlp.experts.gate_up_proj_{part}"] for part in ("blocks", "scales")}
    truth = Tensor("BF16", fixture["dequant_bf16_EHR"].bits.transpose(0, 2, 1))
    yield Case(label, {"quantization_config": {"quant_method": "mxfp4"}}, tensors, name, truth, "MXFP4")


def bitsandbytes(label, _, fixture):
    settings = {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": "int8" not in label, "load_in_8bit": "int8" in label}}
    tensors = {f"{MODULE}.{part}": tensor for part, tensor in fixture.items() if not part.startswith(("dequant", "src"))}
    if "dequant_bf16" in fixture:
        yield Case(label, settings, tensors, f"{MODULE}.weight", fixture["dequant_bf16"])
    else:
        tensors |= {f"{MODULE}.{part}": Tensor(fixture[part].dtype, fixture[part].bits[:8]) for part in ("weight", "SCB")}
        yield Case(label, settings, tensors, f"{MODULE}.weight", fixture["dequant_f32_8rows"])


E2M1 = np.array([0, .5, 1, 1.5, 2, 3, 4, 6, -0., -.5, -1, -1.5, -2, -3, -4, -6], "<f4")


def modelopt(label, _, fixture):
    settings = {"quantization_config": {"quant_method": "modelopt", "quant_algo": label.split("_")[1].upper()}}
    parts = {name: tensor for name, tensor in fixture.items() if not name.startswith("dequant")}
    truth, blocks = fixture.get("dequant_f32"), None
    if truth is None:
        # no decoded truth: the definition
        parts["weight_scale"] = parts.pop("scale")
        powers = np.ldexp(np.float32(1), parts["weight_scale"].bits.astype("i4") - 127)
        truth, blocks = Tensor("F32", E2M1[stream(parts["weight"].bits, 4)] * np.repeat(powers, 32, 1)), "MXFP4"
    tensors = {f"{MODULE}.{name}": tensor for name, tensor in parts.items()}
    tensors[f"{MODULE}.input_scale"] = Tensor("F32", 1)
    yield Case(label, settings, tensors, f"{MODULE}.weight", truth, blocks)


def mlx(label, entry, fixture):
    if entry["mode"] != "affine":
        tensors = {f"{MODULE}.{part}": tensor for part, tensor in fixture.items() if part != "dequant"}
        blocks = {"mlx_mxfp4": "MXFP4", "mlx_nvfp4": "NVFP4"}.get(label)
        yield Case(label, {"quantization": {"mode": entry["mode"]}}, tensors, f"{MODULE}.weight", fixture["dequant"], blocks)
        return
    for size in sorted({name.split(".")[0] for name in fixture}):
        parts = {name.split(".")[1]: tensor for name, tensor in fixture.items() if name.startswith(f"{size}.")}
        truth, bits, group = parts.pop("dequant"), entry["bits"], int(size[1:])
        settings = {"group_size": group, "bits": bits, "mode": "affine"}
        other = {"group_size": 32, "bits": 7, MODULE: settings, "model.embed_tokens": False}
        tensors = {f"{MODULE}.{part}": tensor for part, tensor in parts.items()}
        scales, biases = (np.repeat(parts[part].f32(), group, 1) for part in ("scales", "biases"))
        exact = stream(parts["weight"].bits, bits).astype("<f4") * scales + biases
        if bits == 5:
            yield symmetric(f"{label} {size}, taken for compressed-tensors", parts["weight"], bits)
        config = {"quantization": settings, "quantization_config": settings}
        yield Case(f"{label} {size}", config, tensors, f"{MODULE}.weight", truth)
        yield Case(f"{label} {size}, by module", {"quantization": other}, tensors, f"{MODULE}.weight", truth)
        holds = lambda x: (x.astype("<f2").astype("<f4") == x).all(1)
        rows = holds(scales) & holds(biases)
        if bits <= 5 and rows.any():
            cut = {f"{MODULE}.{part}": Tensor(tensor.dtype, tensor.bits[rows]) for part, tensor in parts.items()}
            some = Tensor(truth.dtype, truth.bits[rows])
            blocks = "Q4_1" if bits <= 4 else "Q5_1"
            yield Case(f"{label} {size}, rows that f16 holds", config, cut, f"{MODULE}.weight", some, blocks, exact[rows])


def symmetric(label, words, bits):
    """The same stream of codes as symmetric integers with scales that f16 holds."""
    codes = stream(words.bits, bits).astype("<f4")
    scales = (np.arange(len(codes), dtype="<f4") + 1) / 1024
    group = {"targets": ["Linear"], "format": "pack-quantized", "weights": {"num_bits": bits, "type": "int", "symmetric": True}}
    config = {"quantization_config": {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {"g": group}}}
    parts = {"packed": Tensor("I32", words.bits.view("<i4")), "shape": Tensor("I64", codes.shape), "scale": Tensor("F16", scales[:, None])}
    tensors = {f"{MODULE}.weight_{part}": tensor for part, tensor in parts.items()}
    truth = Tensor("F32", (codes - (1 << bits - 1)) * scales[:, None])
    return Case(label, config, tensors, f"{MODULE}.weight", truth, {5: "Q5_0"}[bits])


KINDS = {"ct_": compressed, "gptq_": gptq, "awq_": awq, "fp8_block": block_fp8, "gptoss": gpt_oss, "bnb_": bitsandbytes,
         "modelopt_": modelopt, "mlx_": mlx}
