#!/usr/bin/env python3
"""Writes families/NAME.json: what llama.cpp's converter makes of a tiny checkpoint of a model family.

usage: families.py REFERENCE [CASE...]      all cases of families/*.py, or those named
  REFERENCE  folder with venv/ and llama.cpp/, as setup_reference.sh installs them; run with its venv/bin/python

A module families/FAMILY.py holds `CASES`: name -> case(...). The checkpoint lies in a folder of the case's name, with the
tokenizer of fixtures/tiny-llama unless the case says otherwise, and weights from `stored`, which the test in
tests/families computes too. Recorded are the config, the stored tensors, every key with type and value (long arrays and
texts as length and SHA-256) and every tensor with shape, type and SHA-256 of its data. The converter knows pre-tokenizers by
a hash over one published vocabulary each, so it is told what this one is by its structure and architecture: llama-bpe if the
case does not say otherwise. PyTorch's exponential depends on the processor, so the correctly rounded one stands in for it.
"""
import base64
import contextlib
import hashlib
import importlib.util
import io
import json
import logging
import pathlib
import shutil
import sys
import tempfile

import numpy as np

from sentencepiece_model import field, piece, varint

HERE = pathlib.Path(__file__).parent.absolute()
FIXTURE = HERE.parent / "fixtures" / "tiny-llama"
TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
TOKENS = 285
LONG_ARRAY, LONG_TEXT = 40, 200
WIDTHS = {"F32": 4, "BF16": 2, "F16": 2, "F8_E4M3": 1, "U8": 1}


# ---------------------------------------------------------------- cases

def case(config, *shards, files=None, outtype="bf16", pre="llama-bpe"):
    """A checkpoint: config.json, and the tensors of each file as (name, shape) or (name, shape, type); what outtype says by default."""
    plain = outtype.upper()
    shards = [[(name, rest[0], rest[1] if len(rest) > 1 else plain) for name, *rest in shard] for shard in shards]
    return {"config": config, "shards": shards, "files": files or {}, "outtype": outtype, "pre": pre}


def base(architecture, kind, **settings):
    """Settings that most families have; None removes one."""
    config = {"architectures": [architecture], "model_type": kind, "torch_dtype": "bfloat16", "hidden_act": "silu", "hidden_size": 32,
              "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": TOKENS,
              "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": False, "bos_token_id": 280,
              "eos_token_id": 281, **settings}
    return {key: value for key, value in config.items() if value is not REMOVED}


REMOVED = object()


def tokenizer_config(**settings):
    """The fixture's tokenizer_config.json with other settings."""
    config = json.loads((FIXTURE / "tokenizer_config.json").read_text())
    return {"tokenizer_config.json": json.dumps(config | settings, ensure_ascii=False, separators=(",", ":"))}


def sentencepiece(tokens=("<unk>", "<s>", "</s>"), unknown=0, **settings):
    """A tokenizer.model in place of the fixture's tokenizer.json: first `tokens`, `unknown` one of them, then some pieces; a
    tokenizer_config.json that names them and has `settings`; how many tokens there are."""
    normal, is_unknown, control = 1, 2, 3
    pieces = [(text, 0, is_unknown if i == unknown else control) for i, text in enumerate(tokens)]
    # the letters of the text with which .ci/oracle loads the models, and the end of a line, which llama.cpp wants
    pieces += [(text, -i, normal) for i, text in enumerate(["\u2581", "e", "t", "a", "\u2581t", "ea", "\u2581te", *"Thcpil\n"])]
    model = b"".join(piece(*p) for p in pieces)
    named = {name: tokens.index(settings[f"{name}_token"]) for name in ("bos", "eos")}
    trainer = {3: 2, 40: unknown, 41: named["bos"], 42: named["eos"]}
    model += field(2, b"".join(varint(number << 3) + varint(value) for number, value in trainer.items()))
    config = json.dumps({"unk_token": tokens[unknown], "chat_template": "C", **settings}, separators=(",", ":"))
    files = {"tokenizer.json": None, "tokenizer.model": {"base64": base64.b64encode(model).decode()}, "tokenizer_config.json": config}
    return files, len(pieces)


def new_style(config):
    """The same config as transformers 5 writes it: rope_parameters and dtype."""
    config = dict(config)
    config["dtype"] = config.pop("torch_dtype")
    scaling = dict(config.pop("rope_scaling", None) or {"rope_type": "default"})
    scaling.setdefault("rope_type", scaling.pop("type", "default"))
    config["rope_parameters"] = {**scaling, "rope_theta": config.pop("rope_theta")}
    return config


def attention(c, layer, prefix="model.", bias=(), norm=False, names="qkvo"):
    """Separate projections as most families name them."""
    h, p = c["hidden_size"], f"{prefix}layers.{layer}.self_attn."
    d = c.get("head_dim") or h // c["num_attention_heads"]
    q, kv = c["num_attention_heads"] * d, c.get("num_key_value_heads", c["num_attention_heads"]) * d
    shapes = {"q": (q, h), "k": (kv, h), "v": (kv, h), "o": (h, q)}
    out = [(f"{p}{n}_proj.weight", shapes[n]) for n in names]
    out += [(f"{p}{n}_proj.bias", shapes[n][:1]) for n in bias]
    return out + [(f"{p}{n}_norm.weight", (d,)) for n in "qk" if norm]


def mlp(prefix, hidden, inner, names=("gate_proj", "up_proj", "down_proj"), infix=".weight"):
    """The matrices of one feed-forward network; the last goes down."""
    return [(f"{prefix}{n}{infix}", (hidden, inner) if n == names[-1] else (inner, hidden)) for n in names]


def norms(c, layer, prefix="model.", names=("input_layernorm", "post_attention_layernorm")):
    return [(f"{prefix}layers.{layer}.{n}.weight", (c["hidden_size"],)) for n in names]


def ends(c, prefix="model.", head=True):
    """Embeddings, last norm and output."""
    out = [(prefix + "embed_tokens.weight", (c["vocab_size"], c["hidden_size"])), (prefix + "norm.weight", (c["hidden_size"],))]
    return out + [("lm_head.weight", (c["vocab_size"], c["hidden_size"]))] * bool(head)


# ---------------------------------------------------------------- weights

def stored(name, shape, dtype):
    """Bytes of a tensor, from integers only: 16-bit numbers of size 2^-12 to 2^-4; other types keep their high bits."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = (seed ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    x = np.arange(int(np.prod(shape)), dtype=np.uint64) + np.uint64(seed)
    x = (x ^ (x >> np.uint64(29))) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(32))) * np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(29)
    bf16 = (x & np.uint64(1)) << np.uint64(15) | (np.uint64(115) + (x >> np.uint64(1) & np.uint64(7))) << np.uint64(7) | x >> np.uint64(57)
    byte = x >> np.uint64(48) & np.uint64(255)
    if dtype == "BF16":
        return bf16.astype("<u2").tobytes()
    if dtype == "F16":
        return ((x & np.uint64(1)) << np.uint64(15) | (np.uint64(3) + (x >> np.uint64(1) & np.uint64(7))) << np.uint64(10) | x >> np.uint64(54)).astype("<u2").tobytes()
    if dtype == "F32":
        f32 = bf16 << np.uint64(16) | x >> np.uint64(8) & np.uint64(0xFFFF)
        # scales are positive
        return (f32 & np.uint64(0x7FFFFFFF) if name.endswith("scale_inv") else f32).astype("<u4").tobytes()
    if dtype == "F8_E4M3":
        # 0x7f and 0xff are no numbers
        return np.where(byte & np.uint64(127) == 127, byte - np.uint64(1), byte).astype(np.uint8).tobytes()
    if dtype == "U8":
        # exponents of MXFP4: not too far from 127
        return (np.uint64(100) + byte % np.uint64(40) if name.endswith("_scales") else byte).astype(np.uint8).tobytes()
    raise ValueError(dtype)


def write_safetensors(path, tensors):
    header, at = {}, 0
    for name, shape, dtype in tensors:
        size = int(np.prod(shape)) * WIDTHS[dtype]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    path.write_bytes(len(head).to_bytes(8, "little") + head + b"".join(stored(*t) for t in tensors))


def shard_name(i, count):
    return "model.safetensors" if count == 1 else f"model-{i + 1:05d}-of-{count:05d}.safetensors"


def make(folder, k):
    for name in TOKENIZER:
        shutil.copy(FIXTURE / name, folder / name)
    for name, content in k["files"].items():
        (folder / name).unlink(missing_ok=True)
        if content is not None:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(base64.b64decode(content["base64"]) if isinstance(content, dict) else content.encode())
    (folder / "config.json").write_text(json.dumps(k["config"]))
    names = [shard_name(i, len(k["shards"])) for i in range(len(k["shards"]))]
    for name, tensors in zip(names, k["shards"]):
        write_safetensors(folder / name, tensors)
    if len(names) > 1:
        index = {t[0]: name for name, tensors in zip(names, k["shards"]) for t in tensors}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))


# ---------------------------------------------------------------- reference

def describe(path):
    from gguf import GGUFReader
    reader, metadata = GGUFReader(path), []
    digest = lambda data: hashlib.sha256(data).hexdigest()[:16]
    for key, f in reader.fields.items():
        if key.startswith("GGUF."):
            continue
        kind, value = "/".join(x.name for x in f.types), f.contents()
        if isinstance(value, list) and len(value) > LONG_ARRAY:
            value = [len(value), digest(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())]
        elif isinstance(value, str) and len(value) > LONG_TEXT:
            value = [len(value), digest(value.encode())]
        metadata.append([key, kind, value])
    tensors = [[x.name, [int(n) for n in reversed(x.shape)], x.tensor_type.name,
                digest(np.ascontiguousarray(x.data).tobytes())] for x in reader.tensors]
    return metadata, tensors


def convert(folder, out, outtype):
    import convert_hf_to_gguf
    sys.argv = ["convert", str(folder), "--outtype", outtype, "--outfile", str(out)]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        convert_hf_to_gguf.main()


def read(path):
    """A golden file, with what it has in common with the one that it names as `like`."""
    golden = json.loads(path.read_text())
    return json.loads((path.parent / f"{golden['like']}.json").read_text()) | golden if "like" in golden else golden


def share(folder):
    """Leaves out of golden files what an earlier one has too, whose name they get as `like`."""
    goldens = {path.stem: read(path) for path in sorted(folder.glob("*.json"))}
    whole = []
    for name, golden in goldens.items():
        golden.pop("like", None)
        common = lambda other: [part for part in ("shards", "metadata", "tensors") if golden[part] == goldens[other][part]]
        saved = lambda other: sum(len(json.dumps(golden[part])) for part in common(other))
        like = max(whole, key=saved, default=None)
        if like and saved(like) > 1000:
            golden = {"like": like} | {part: value for part, value in golden.items() if part not in common(like)}
        else:
            whole.append(name)
        (folder / f"{name}.json").write_text(text(golden))


def text(golden):
    """One line per setting, tensor and key, so that changes can be read."""
    compact = lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    rows = lambda items: "[\n" + ",\n".join(compact(x) for x in items) + "\n]"
    shards = lambda items: "[" + ",\n".join(map(rows, items)) + "]"
    written = {"like": compact, "config": compact, "files": compact, "outtype": compact, "shards": shards, "metadata": rows, "tensors": rows}
    parts = [(name, written[name](golden[name])) for name in written if name in golden]
    return "{\n" + ",\n".join(f'"{name}": {value}' for name, value in parts) + "\n}\n"


def main():
    reference, chosen = pathlib.Path(sys.argv[1]).absolute(), sys.argv[2:]
    sys.path.insert(0, str(reference / "llama.cpp"))
    sys.modules["families"] = sys.modules["__main__"]
    logging.disable(logging.CRITICAL)
    from conversion.base import TextModel
    import torch
    exp = torch.exp
    torch.exp = lambda x: exp(x.to(torch.float64)).to(torch.float32)
    cases = {}
    for path in sorted((HERE / "families").glob("*.py")):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        cases |= module.CASES
    unknown = [name for name in chosen if name not in cases]
    if unknown:
        sys.exit(f"no such case: {' '.join(unknown)}; there are: {' '.join(cases)}")
    with tempfile.TemporaryDirectory() as scratch:
        for name in chosen or cases:
            folder, out = pathlib.Path(scratch) / name, pathlib.Path(scratch) / f"{name}.gguf"
            folder.mkdir()
            make(folder, cases[name])
            TextModel.get_vocab_base_pre = lambda self, tokenizer, pre=cases[name]["pre"]: pre
            convert(folder, out, cases[name]["outtype"])
            metadata, tensors = describe(out)
            (HERE / "families" / f"{name}.json").write_text(text({**cases[name], "metadata": metadata, "tensors": tensors}))
            print(name, len(metadata), "keys", len(tensors), "tensors", flush=True)
    share(HERE / "families")


if __name__ == "__main__":
    main()
