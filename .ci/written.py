"""Weights as the packages of each format write them, made of the oracle's fixtures: what `-t SCHEME --search absmax` must write.

A case is a weight, options, and the tensors that must come out, bit for bit. Where a package rounds every intermediate to BF16
(llmcompressor on a CPU), the source is F32, or codes are left out. GPTQModel and AutoAWQ lose half of the range of groups whose
weights all have one sign: rows with such groups are left out.
"""
import numpy as np

from schemes import Tensor, load, stream

MODULE = "model.layers.0.mlp.up_proj"
AWQ_ORDER = [0, 4, 1, 5, 2, 6, 3, 7]


class Written:
    """`source`, written with `options`, must become `expected`, a tensor for each of its parts by name."""

    def __init__(self, label, source, options, expected):
        self.label, self.source, self.options, self.expected = label, source, options, expected


def f32(tensor):
    return Tensor("F32", tensor.f32())


def f16(tensor):
    return Tensor("F16", tensor.f32().astype("<f2"))


def parts(fixture, prefix, names=None):
    found = {name.removeprefix(prefix): tensor for name, tensor in fixture.items() if name.startswith(prefix)}
    return {name: found[name] for name in names} if names else found


def compressed(folder, source):
    """compressed-tensors: whole where the source is F32 or a single rounding is all there is, else all but the codes."""
    def case(label, source, *options, names=None):
        return Written(label, source, options, parts(load(folder / f"{label}.safetensors"), "compressed.", names))
    yield case("ct_w4a16_sym_g128_f32", f32(source), "-t", "w4a16")
    yield case("ct_w4a16_asym_g128_f32", f32(source), "-t", "w4a16", "--asymmetric")
    yield case("ct_nvfp4a16_bf16", source, "-t", "nvfp4a16")
    yield case("ct_mxfp4a16_bf16", source, "-t", "mxfp4a16")
    numbers = ("weight_scale", "weight_shape")
    yield case("ct_w4a16_sym_g128_bf16", source, "-t", "w4a16", names=numbers)
    yield case("ct_w4a16_sym_g32_bf16", source, "-t", "w4a16", "--group-size", "32", names=numbers)
    yield case("ct_w4a16_sym_chan_bf16", source, "-t", "w4a16", "--group-size", "channel", names=numbers)
    yield case("ct_w8a16_sym_g128_bf16", source, "-t", "w8a16", "--group-size", "128", names=numbers)
    yield case("ct_w8a8_bf16", source, "-t", "w8a8", names=numbers[:1])
    yield case("ct_fp8_dynamic_bf16", source, "-t", "fp8", names=numbers[:1])


def compressed_blocks(folder, _):
    """The one block that is whole; its codes were rounded on the way."""
    source = load(folder / "src_block.safetensors")["w_bf16"].bits[:128, :128]
    scale = load(folder / "ct_fp8_block_bf16.safetensors")["compressed.weight_scale"].bits[:1, :1]
    yield Written("ct_fp8_block_bf16", Tensor("BF16", source), ("-t", "fp8-block-ct"), {"weight_scale": Tensor("BF16", scale)})


def whole_rows(source, group):
    """The rows whose groups have weights of both signs, or nothing but zeros; each so often that there are as many as before."""
    groups = source.f32().reshape(len(source.bits), -1, group)
    least, most = groups.min(-1), groups.max(-1)
    good = np.flatnonzero((((least < 0) & (most > 0)) | ((least == 0) & (most == 0))).all(1))
    return np.resize(good, len(source.bits))


def awq_codes(tensor):
    codes = stream(tensor.bits, 4)
    return codes.reshape(len(codes), -1, 8)[:, :, AWQ_ORDER].reshape(len(codes), -1)


def awq_words(codes):
    ordered = codes.reshape(len(codes), -1, 8)[:, :, np.argsort(AWQ_ORDER)].astype("<u4")
    return Tensor("I32", (ordered << (4 * np.arange(8, dtype="<u4"))).sum(-1).astype("<u4").view("<i4"))


def gptq(folder, source):
    fixture, rows = load(folder / "gptq_4b_sym_g128.safetensors"), whole_rows(source, 128)
    expected = {"qweight": Tensor("I32", fixture["v2.qweight"].bits[:, rows]), "scales": Tensor("F16", fixture["v2.scales"].bits[:, rows]),
                "g_idx": fixture["v2.g_idx"], "qzeros": fixture["v1_gptqmodel.qzeros"]}
    yield Written("gptq_4b_sym_g128", Tensor("F16", f16(source).bits[rows]), ("-t", "gptq"), expected)


def awq(folder, source):
    for group in 64, 128:
        fixture, rows = load(folder / f"awq_gemm_g{group}.safetensors"), whole_rows(source, group)
        expected = {name: awq_words(awq_codes(fixture[name])[:, rows]) for name in ("qweight", "qzeros")}
        expected["scales"] = Tensor("F16", fixture["scales"].bits[:, rows])
        yield Written(f"awq_gemm_g{group}", Tensor("F16", f16(source).bits[rows]), ("-t", "awq", "--group-size", str(group)), expected)


def mlx(folder, source):
    for bits in 2, 3, 4, 5, 6, 8:
        fixture = load(folder / f"mlx_affine_{bits}b.safetensors")
        for size in sorted({name.split(".")[0] for name in fixture}):
            options = ("-t", f"mlx-{bits}bit", "--group-size", size[1:])
            yield Written(f"mlx_affine_{bits}b {size}", source, options, parts(fixture, f"{size}.", ("weight", "scales", "biases")))
    fixture = load(folder / "mlx_affine_4b_f32.safetensors")
    yield Written("mlx_affine_4b_f32", f32(source), ("-t", "mlx"), parts(fixture, "g64.", ("weight", "scales", "biases")))
    yield Written("mlx_mxfp4", source, ("-t", "mlx-mxfp4"), parts(load(folder / "mlx_mxfp4.safetensors"), "", ("weight", "scales")))


def fp8_blocks(folder, source):
    fixture = load(folder / "fp8_block128_hf_float.safetensors")
    yield Written("fp8_block128_hf_float", fixture["src_bf16"], ("-t", "fp8-block"), parts(fixture, "", ("weight", "weight_scale_inv")))


def cases(folder):
    """All cases that the fixtures in `folder` give."""
    source = load(folder / "src_w.safetensors")["w_bf16"]
    for family in compressed, compressed_blocks, gptq, awq, mlx, fp8_blocks:
        yield from family(folder, source)
