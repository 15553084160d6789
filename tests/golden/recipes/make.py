#!/usr/bin/env python3
"""Makes the goldens of tests/plan/recipes.rs: what llama.cpp's llama_model_quantize does with tiny models.

    ORACLE=<folder of ggml.py> ORACLE_HOME=<installed oracle> python make.py [NAME...]

The Python needs numpy and gguf. Every model has rows of one or a few blocks and zero weights: what counts are names,
shapes and metadata. NAME.txt describes the model, then lists what became of it, case by case:

    kv KEY TYPE VALUE                    metadata, in the order of the file
    tensor TYPE SHAPE NAME [BLOCKS]      SHAPE row-major; `*` in NAME stands for each of BLOCKS
    split N                              the model lies in several files of N tensors
    case TYPE [OPTIONS]                  as on the command line of llama-quantize, but `--imatrix` stands for a matrix
                                         with a value for every column of every tensor inside blocks
      header SHA256 BYTES                everything before the first tensor, and the size of the whole file; one line per file
      TYPE NAME [BLOCKS]                 types of the quantized tensors; 1-dimensional ones are left out
"""
import ctypes as C, hashlib, os, pathlib, re, sys, tempfile

import numpy as np

sys.path.insert(0, os.environ["ORACLE"])
import ggml
import gguf

ALL = ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q2_K_S --imatrix", "Q3_K_S", "Q3_K_M",
       "Q3_K_L", "Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M", "Q6_K", "COPY"]
FEW_BITS = ["IQ1_S --imatrix", "IQ1_M --imatrix", "IQ2_XXS --imatrix", "IQ2_XS --imatrix", "IQ2_S --imatrix", "IQ2_M --imatrix",
            "IQ3_XXS --imatrix", "IQ3_XS --imatrix", "IQ3_S", "IQ3_M", "IQ4_NL", "IQ4_XS", "IQ4_NL --imatrix", "IQ4_XS --imatrix",
            "TQ1_0", "TQ2_0", "MXFP4_MOE", "Q2_0"]
SOME = ["Q4_0", "Q8_0", "Q2_K", "Q2_K_S --imatrix", "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M", "Q5_K_M"]
OPTIONS = ["Q4_K_M --pure", "Q4_K_M --leave-output-tensor", "Q4_K_M --output-tensor-type q5_1",
           "Q4_K_M --token-embedding-type q8_0", "F16 --token-embedding-type q8_0 --output-tensor-type q6_k",
           "Q4_K_M --tensor-type attn_v=q8_0", "Q3_K_M --tensor-type BLK.[0-3].ffn_down=q5_0 --tensor-type ffn_down=f16",
           "Q4_K_M --tensor-type token_embd=q4_1 --tensor-type output=q5_1", "F16 --tensor-type attn_v=q8_0",
           "Q4_K_M --pure --tensor-type \\.1.?\\.ffn_(up|gate)=q6_k",
           "Q4_0 --imatrix", "Q5_0 --imatrix", "Q4_K_M --imatrix", "Q2_K --imatrix", "Q4_K_M --prune-layers 0,3,5",
           "Q3_K_M --imatrix --prune-layers 1,2", "Q4_K_M --override-kv general.name=str:other --override-kv x.y=int:7 "
           "--override-kv z=float:0.5 --override-kv general.flag=bool:true --override-kv general.file_type=int:99"]


class Value(C.Union):
    _fields_ = [("i", C.c_int64), ("f", C.c_double), ("b", C.c_bool), ("s", C.c_char * 128)]


class Override(C.Structure):
    _fields_ = [("tag", C.c_int), ("key", C.c_char * 128), ("value", Value)]


class Model:
    """Metadata and tensors of a tiny GGUF file. Blocks have the tensors `block`; `kv` are keys of the architecture."""

    def __init__(self, arch, blocks, kv, outside, block, dtype="F16", cases=None, split=0):
        self.arch, self.split, self.cases = arch, split, SOME if cases is None else cases
        common = {"context_length": 512, "embedding_length": 256, "block_count": blocks, "feed_forward_length": 512,
                  "attention.layer_norm_rms_epsilon": 1e-5, "attention.layer_norm_epsilon": 1e-5} | kv
        ftype = {"F32": 0, "F16": 1, "BF16": 32}[dtype]
        self.kv = [("general.architecture", "str", arch), ("general.name", "str", "tiny")]
        self.kv += [("general.file_type", "u32", ftype), ("general.quantization_version", "u32", 2)]
        for key, value in common.items():
            kind = "f32" if isinstance(value, float) else "u32s" if isinstance(value, list) else "u32"
            self.kv.append((f"{arch}.{key}", kind, value))
        self.kv.append(("tokenizer.ggml.model", "str", "none"))
        # (type, row-major shape, name, blocks or None)
        norm = lambda name: "norm" in name or not name.endswith("weight")
        self.tensors = [("F32" if len(shape) == 1 or norm(name) else dtype, shape, name, None) for name, shape in outside.items()]
        self.tensors += [("F32" if len(shape) == 1 or norm(name) else dtype, shape, f"blk.*.{name}", list(range(blocks)))
                         for name, shape in block.items()]

    def each(self):
        for dtype, shape, name, blocks in self.tensors:
            for b in [None] if blocks is None else blocks:
                yield dtype, shape, name if b is None else name.replace("*", str(b))


ATTENTION = {"attn_norm.weight": [256], "attn_q.weight": [256, 256], "attn_k.weight": [64, 256], "attn_v.weight": [64, 256],
             "attn_output.weight": [256, 256], "ffn_norm.weight": [256]}
FFN = {"ffn_gate.weight": [3, 256], "ffn_up.weight": [3, 256], "ffn_down.weight": [3, 512]}
SMALL = {k: [min(n, 2) for n in v[:-1]] + v[-1:] for k, v in ATTENTION.items()}
BLOCK = SMALL | FFN
EXPERTS = {"ffn_gate_inp.weight": [8, 256], "ffn_gate_exps.weight": [2, 2, 256], "ffn_up_exps.weight": [2, 2, 256],
           "ffn_down_exps.weight": [2, 2, 256]}
OUTSIDE = {"token_embd.weight": [4, 256], "output_norm.weight": [256], "output.weight": [4, 256]}
TIED = {k: v for k, v in OUTSIDE.items() if k != "output.weight"}
HEADS = lambda q, k: {"attention.head_count": q, "attention.head_count_kv": k}
MOE = {"expert_count": 8, "expert_used_count": 2}


def numbered(tensors, experts):
    """Feed-forward tensors of every expert by themselves, as in the first Mixtral files."""
    out = {"ffn_gate_inp.weight": [8, 256]}
    for e in range(experts):
        out |= {f"{name}.{e}.weight": shape for name, shape in tensors.items()}
    return out


ODD_NAMES = [
    "abcde", "abcdef", "position_embd.weight", "token_types.weight", "per_layer_token_embd.weight", "per_layer_model_proj.weight",
    "blk.0.altup_router.weight", "blk.0.laurel_l.weight", "blk.0.ssm_conv1d.weight", "blk.1.shortconv.conv.weight",
    "blk.1.indexer.k_proj.weight", "blk.1.indexer.q_proj.weight", "blk.1.indexer.proj.weight", "blk.0.attn_rel_b.weight",
    "blk.0.time_mix_first.weight", "blk.0.time_mix_w1.weight", "blk.0.time_mix_key.weight", "blk.0.time_mix_lerp_fused.weight",
    "blk.0.time_mix_decay_w2.weight", "blk.0.time_mix_v2.weight", "blk.0.time_mix_a0.weight", "blk.0.time_mix_g2.weight",
    "v.position_embd.weight", "v.patch_embd.weight", "v.sam.pos_embd.weight", "v.sam.neck.0.weight", "v.sam.net_1.weight",
    "v.blk.0.attn_v.weight", "v.blk.0.ffn_down.weight", "v.rel_pos.weight", "v.patch_merger.weight", "a.rvq.codebook.weight",
    "mm.a.code_embd.weight", "mm.0.weight", "blk.0.ffn_gate_inp.weight", "blk.0.ffn_gate_inp_shexp.weight",
    "blk.0.ffn_gate_tid2eid.weight", "blk.0.attn_qkv.weight", "blk.1.attn_kv_b.weight", "blk.1.attn_kv_a_mqa.weight",
    "blk.0.attn_q_a.weight", "blk.10.attn_q.weight", "blk.9.attn_q.weight", "blk.2.attn_v.bias2", "cls.weight", "cls.output.weight",
    "dec.blk.0.cross_attn_v.weight", "enc.blk.0.ffn_down.weight", "rope_freqs.weight", "weight", "output_weight", "hc_a.weight",
    "blk.5.attn_q.weight",
]

MODELS = {
    "llama": Model("llama", 32, HEADS(8, 8), OUTSIDE | {"rope_freqs.weight": [16]}, BLOCK, cases=ALL + OPTIONS + FEW_BITS + ["Q1_0"]),
    "llama_grouped": Model("llama", 22, HEADS(8, 2), OUTSIDE, BLOCK, "BF16", SOME + FEW_BITS),
    "llama_tied": Model("llama", 16, HEADS(9, 3), TIED, BLOCK, "F32",
                        ALL + ["Q4_K_M --output-tensor-type q8_0", "Q4_K_M --leave-output-tensor", "Q6_K --pure",
                               "Q4_K_M --token-embedding-type f16"] + FEW_BITS + ["Q1_0"]),
    "llama_70b": Model("llama", 80, HEADS(8, 1), OUTSIDE, BLOCK, cases=SOME + FEW_BITS),
    "llama_65b": Model("llama", 80, HEADS(8, 8), OUTSIDE, BLOCK, cases=["Q2_K", "Q3_K_M", "Q4_K_M", "Q4_K_S"]),
    "llama_embed_70b": Model("llama-embed", 80, HEADS(8, 1), TIED, {"attn_v.weight": [2, 256]}, cases=["Q3_K_M", "Q4_K_M"]),
    "llama_80_experts": Model("llama", 80, HEADS(8, 1) | MOE, TIED, {"attn_v.weight": [2, 256]}, cases=["Q3_K_M", "Q4_K_M"]),
    "qwen2_72b": Model("qwen2", 80, HEADS(8, 8), OUTSIDE, {"attn_v.weight": [2, 256], "attn_v.bias": [2]}, cases=["Q3_K_M", "Q4_K_M"]),
    "olmo_70b": Model("olmo", 80, HEADS(8, 8), OUTSIDE, {"attn_v.weight": [2, 256]}, cases=["Q3_K_M", "Q4_K_M"]),
    "jais2_70b": Model("jais2", 68, HEADS(8, 8), OUTSIDE, {"attn_v.weight": [2, 256]}, cases=["Q3_K_M", "Q4_K_M"]),
    "deci_70b": Model("deci", 80, HEADS([8, 0] * 40, [2, 0] * 40), OUTSIDE, {"attn_v.weight": [2, 256]}, cases=["Q2_K", "Q3_K_M", "Q4_K_M"]),
    "no_heads": Model("deci", 4, HEADS([0, 8, 8, 8], [0, 2, 2, 2]), OUTSIDE, BLOCK, cases=["Q2_K", "Q2_K_S --imatrix"]),
    "qwen2": Model("qwen2", 24, HEADS(14, 2), TIED, BLOCK | {"attn_q.bias": [256], "attn_v.bias": [64]}),
    "mixtral": Model("llama", 32, HEADS(32, 8) | MOE, OUTSIDE, SMALL | EXPERTS, cases=ALL + ["Q4_0 --imatrix", "Q4_K_M --pure", "MXFP4_MOE --pure"] + FEW_BITS),
    "mixtral_numbered": Model("llama", 16, HEADS(8, 2) | MOE, OUTSIDE, SMALL | numbered(FFN, 8), cases=["Q2_K_S --imatrix", "Q4_K_S", "Q4_K_M", "Q3_K_M", "IQ2_M --imatrix", "IQ3_XS --imatrix",
                                     "IQ3_M", "MXFP4_MOE"]),
    "qwen3_moe": Model("qwen3moe", 16, HEADS(32, 4) | {"expert_count": 128, "expert_used_count": 8}, OUTSIDE,
                       SMALL | EXPERTS | {"attn_q_norm.weight": [128], "ffn_down_shexp.weight": [2, 256]}, cases=SOME + FEW_BITS),
    "four_experts": Model("llama", 8, HEADS(8, 8) | {"expert_count": 4, "expert_used_count": 2}, OUTSIDE, SMALL | EXPERTS, cases=FEW_BITS),
    "falcon": Model("falcon", 32, HEADS(71, 1), OUTSIDE,
                    {"attn_norm.weight": [256], "attn_norm.bias": [256], "attn_qkv.weight": [2, 256], "attn_output.weight": [2, 256],
                     "ffn_up.weight": [2, 256], "ffn_down.weight": [2, 1024]}, cases=ALL + FEW_BITS + ["Q1_0"]),
    "falcon_tied": Model("falcon", 16, HEADS(8, 8), TIED, {"attn_qkv.weight": [2, 256], "ffn_down.weight": [2, 1024]}),
    "rows_of_576": Model("llama", 12, HEADS(9, 3), TIED | {"token_embd.weight": [4, 576]},
                         {"attn_q.weight": [2, 576], "attn_v.weight": [2, 576], "attn_output.weight": [2, 576],
                          "ffn_up.weight": [2, 576], "ffn_down.weight": [2, 1536]}, "BF16", ALL + ["Q4_K_M --pure"] + FEW_BITS),
    "rows_of_40": Model("llama", 4, HEADS(4, 4), {"token_embd.weight": [4, 40], "output.weight": [4, 40]},
                        {"attn_q.weight": [2, 40], "attn_v.weight": [2, 32], "ffn_down.weight": [2, 100]}, cases=ALL + ["Q4_K_M --pure"] + FEW_BITS),
    "shapes": Model("llama", 2, HEADS(4, 4), TIED | {"a.weight": [1, 256], "b.weight": [1, 1, 256], "c.weight": [2, 1, 256],
                                                     "e.weight": [1, 2, 256], "f.weight": [1, 1, 1, 1]}, BLOCK,
                    cases=["Q4_K_M", "Q8_0", "F16", "COPY", "MXFP4_MOE"]),
    "names": Model("llama", 11, HEADS(4, 4), {name: [2, 256] for name in ODD_NAMES}, {},
                   cases=["Q4_K_M", "Q2_K", "Q3_K_L", "Q8_0", "F16", "Q4_K_M --prune-layers 9", "Q4_K_M --token-embedding-type q5_1",
                          "Q4_K_M --token-embedding-type q5_1 --tensor-type per_layer_token=q8_0",
                          "F16 --token-embedding-type q5_1 --tensor-type per_layer_token=q8_0"]),
    "nanbeige": Model("nanbeige", 8, HEADS(4, 2) | {"num_loops": 2}, OUTSIDE, BLOCK, cases=["Q2_K_S --imatrix", "Q4_K_S", "Q4_K_M", "Q3_K_M"]),
    "bert": Model("bert", 6, HEADS(8, 8), {"token_embd.weight": [4, 256], "position_embd.weight": [4, 256], "token_types.weight": [2, 256],
                                           "token_embd_norm.weight": [256]}, BLOCK, cases=["Q4_K_M", "Q8_0", "F16"]),
    "mamba": Model("mamba", 8, {"ssm.conv_kernel": 4, "ssm.inner_size": 512, "ssm.state_size": 16, "ssm.time_step_rank": 16}, TIED,
                   {"ssm_in.weight": [4, 256], "ssm_conv1d.weight": [2, 4], "ssm_x.weight": [3, 512], "ssm_out.weight": [2, 512],
                    "ssm_a": [2, 16], "ssm_d": [2]}, cases=["Q4_K_M", "Q2_K", "F16"]),
    "split": Model("llama", 12, HEADS(8, 2), OUTSIDE, BLOCK, cases=["Q4_K_M", "Q4_K_M --keep-split", "COPY --keep-split", "Q3_K_M --keep-split "
                   "--imatrix --override-kv general.name=str:parts"], split=50),
    "unsplit": Model("llama", 2, HEADS(8, 2), OUTSIDE, BLOCK, cases=["Q4_K_M --keep-split"]),
    "predicting": Model("llama", 81, HEADS(8, 1) | {"nextn_predict_layers": 1}, OUTSIDE, {"attn_v.weight": [2, 256], "ffn_down.weight": [2, 256]},
                        cases=["Q3_K_M", "Q4_K_M"]),
}


def write(model, path):
    """Returns the path of the file, or of its first part."""
    w = gguf.GGUFWriter(path, model.arch, split_max_tensors=model.split)
    add = {"str": w.add_string, "u32": w.add_uint32, "f32": w.add_float32, "u32s": lambda k, v: w.add_array(k, v)}
    for key, kind, value in model.kv:
        if key != "general.architecture":
            # gguf-py writes lists of Python integers as INT32.
            add[kind](key, value)
    types = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}
    for dtype, shape, name in model.each():
        data = np.zeros(shape, types[dtype])
        if dtype == "BF16":
            w.add_tensor(name, data.view(np.uint8), raw_dtype=gguf.GGMLQuantizationType.BF16)
        else:
            w.add_tensor(name, data)
    w.write_header_to_file(); w.write_kv_data_to_file(); w.write_tensors_to_file(); w.close()
    return next(iter(sorted(path.parent.glob("in*.gguf"))))


def quantize(model, src, dst, case):
    g = ggml.Ggml()
    C.CDLL(str(next((ggml.HOME / "ggml").glob("libggml.v*.so"))), mode=C.RTLD_GLOBAL)
    lib = C.CDLL(str(next((ggml.HOME / "ggml").glob("libllama.v*.so"))))
    lib.llama_model_quantize_default_params.restype = ggml.Params
    lib.llama_model_quantize.argtypes = [C.c_char_p, C.c_char_p, C.POINTER(ggml.Params)]
    p, words, keep = lib.llama_model_quantize_default_params(), case.split(), []
    p.nthread, p.only_copy = 1, words[0] == "COPY"
    p.ftype = 0 if words[0] == "COPY" else ggml.FTYPES[words[0]]
    tensor_types, overrides, added, words = [], [], [], words[1:]
    while words:
        option = words.pop(0)
        if option == "--pure": p.pure = True
        elif option == "--keep-split": p.keep_split = True
        elif option == "--leave-output-tensor": p.quantize_output = False
        elif option == "--output-tensor-type": p.output_type = g.ids[words.pop(0)]
        elif option == "--token-embedding-type": p.embedding_type = g.ids[words.pop(0)]
        elif option == "--tensor-type": tensor_types.append(words.pop(0).split("=", 1))
        elif option == "--override-kv": overrides.append(words.pop(0).split("=", 1))
        elif option == "--prune-layers":
            layers = [int(n) for n in words.pop(0).split(",")] + [-1]
            keep.append((C.c_int32 * len(layers))(*layers))
            p.prune = C.cast(keep[-1], C.c_void_p)
        elif option == "--imatrix":
            entries = [(name, shape[-1] * (shape[0] if len(shape) == 3 else 1)) for _, shape, name in model.each()
                       if len(shape) > 1 and name.startswith("blk.")]
            arr = (ggml.Importance * (len(entries) + 1))()
            for k, (name, size) in enumerate(entries):
                ones = np.ones(size, np.float32)
                keep.append(ones)
                arr[k] = ggml.Importance(name.encode(), ones.ctypes.data, size)
            p.imatrix = arr
            # What tools/quantize/quantize.cpp adds for a matrix in a file of this name, of one text and 10 chunks.
            added = [["quantize.imatrix.file", "str:tiny.gguf"], ["quantize.imatrix.dataset", "str:text.txt"],
                     ["quantize.imatrix.entries_count", f"int:{len(entries)}"], ["quantize.imatrix.chunks_count", "int:10"]]
        else: raise SystemExit(option)
    if tensor_types:
        p.tt_overrides = (ggml.Overrides * (len(tensor_types) + 1))(
            *[ggml.Overrides(pattern.lower().encode(), g.ids[t]) for pattern, t in tensor_types])
    if overrides + added:
        arr = (Override * (len(overrides + added) + 1))()
        for k, (key, value) in enumerate(overrides + added):
            kind, text = value.split(":", 1)
            arr[k].tag, arr[k].key = ["int", "float", "bool", "str"].index(kind), key.encode()
            if kind == "int": arr[k].value.i = int(text)
            elif kind == "float": arr[k].value.f = float(text)
            elif kind == "bool": arr[k].value.b = text == "true"
            else: arr[k].value.s = text.encode()
        p.kv_overrides = C.cast(arr, C.c_void_p)
        keep.append(arr)
    # With --keep-split the library wants the path without its ending, and adds the numbers of the parts.
    if lib.llama_model_quantize(str(src).encode(), str(dst.with_suffix("") if p.keep_split else dst).encode(), C.byref(p)):
        raise SystemExit(f"{case}: llama_model_quantize failed")
    return sorted(dst.parent.glob("out*.gguf"))


def ranges(numbers):
    """0,1,2,5 -> 0-2,5"""
    runs = []
    for n in sorted(numbers):
        if runs and runs[-1][1] == n - 1: runs[-1][1] = n
        else: runs.append([n, n])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def result(paths):
    readers = [gguf.GGUFReader(path) for path in paths]
    for path, reader in zip(paths, readers):
        yield f"  header {hashlib.sha256(path.read_bytes()[:reader.data_offset]).hexdigest()} {path.stat().st_size}"
        path.unlink()
    groups = {}
    for t in (t for reader in readers for t in reader.tensors):
        if len(t.shape) > 1:
            m = re.match(r"blk\.(\d+)\.(.*)", t.name)
            groups.setdefault((f"blk.*.{m[2]}" if m else t.name, t.tensor_type.name), []).append(int(m[1]) if m else None)
    for (name, dtype), blocks in groups.items():
        yield f"  {dtype} {name}" + (f" {ranges(blocks)}" if blocks[0] is not None else "")


def main():
    here = pathlib.Path(__file__).parent
    for name in sys.argv[1:] or MODELS:
        model, lines = MODELS[name], ["# Made by make.py from llama.cpp v0.5.0."]
        for key, kind, value in model.kv:
            lines.append(f"kv {key} {kind} {','.join(map(str, value)) if isinstance(value, list) else value}")
        for dtype, shape, tensor, blocks in model.tensors:
            lines.append(f"tensor {dtype} {'x'.join(map(str, shape))} {tensor}" + ("" if blocks is None else f" {ranges(blocks)}"))
        if model.split:
            lines.append(f"split {model.split}")
        with tempfile.TemporaryDirectory() as tmp:
            src, dst = pathlib.Path(tmp) / "in.gguf", pathlib.Path(tmp) / "out.gguf"
            src = write(model, src)
            for case in model.cases:
                lines += [f"case {case}"] + list(result(quantize(model, src, dst, case)))
        (here / f"{name}.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
