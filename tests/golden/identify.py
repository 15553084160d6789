#!/usr/bin/env python3
"""Writes identify.json: what llama.cpp's converter makes of variants of tests/fixtures/tiny-llama.

usage: identify.py REFERENCE > identify.json
  REFERENCE  folder with venv/ and llama.cpp/, as setup_reference.sh installs them; run with its venv/bin/python

Each case edits the JSON files of the fixture ([file, pointer, value], without a value the key goes), adds or removes
files, and lists the tensors of the checkpoint, whose data are zeros. Recorded are every key with type and value (long
arrays as count and SHA-256 of their JSON) and every tensor with shape and type, computed ones with the bits of their
values. The converter does not know the byte-level tokenizer's hash, so it is told that this is Llama 3's: smaug-bpe if it has
the token that begins a text and does not put it there, else llama-bpe.
"""
import base64
import contextlib
import hashlib
import io
import json
import logging
import pathlib
import shutil
import sys
import tempfile

from sentencepiece_model import field, piece

REFERENCE = pathlib.Path(sys.argv[1]).absolute()
FIXTURE = pathlib.Path(__file__).parent.absolute().parent / "fixtures" / "tiny-llama"
sys.path.insert(0, str(REFERENCE / "llama.cpp"))
logging.disable(logging.CRITICAL)
import convert_hf_to_gguf  # noqa: E402
from conversion.base import TextModel  # noqa: E402
from gguf import GGUFReader  # noqa: E402

BEGIN = "<|begin_of_text|>"
TextModel.get_vocab_base_pre = lambda self, tokenizer: "smaug-bpe" if (
    BEGIN in tokenizer.get_vocab() and tokenizer.encode("x")[0] != tokenizer.convert_tokens_to_ids(BEGIN)) else "llama-bpe"
BASE = [["config.json", "/" + key, value] for key, value in (
    ("hidden_size", 32), ("intermediate_size", 48), ("num_attention_heads", 4), ("num_key_value_heads", 2),
    ("num_hidden_layers", 2))] + [["config.json", "/rope_scaling"], ["config.json", "/head_dim"]]
CASES = []


def c(key, *value):
    return ["config.json", "/" + key, *value]


def t(key, *value):
    return ["tokenizer.json", "/" + key, *value]


def tc(key, *value):
    return ["tokenizer_config.json", "/" + key, *value]


def case(name, *edits, files=None, outtype="bf16", dtype="BF16", extra=(), head=None, heads=4, kv_heads=2, head_dim=8, layers=2, rows=None):
    CASES.append(dict(name=name, edits=BASE + [list(e) for e in edits], files=files or {}, outtype=outtype, dtype=dtype,
                      extra=extra, head=head, heads=heads, kv_heads=kv_heads, head_dim=head_dim, layers=layers, rows=rows))


# ---------------------------------------------------------------- the fixture

TOKENIZER = json.loads((FIXTURE / "tokenizer.json").read_text())
ADDED = TOKENIZER["added_tokens"]
TOKENS = len(TOKENIZER["model"]["vocab"]) + len([a for a in ADDED if a["content"] not in TOKENIZER["model"]["vocab"]])
TIED = json.loads((FIXTURE / "config.json").read_text()).get("tie_word_embeddings", False)
NAMES = [a["content"] for a in ADDED]


def added(*tokens):
    """Added tokens (text, special, normalized) after those of the fixture."""
    more = [{"id": TOKENS + i, "content": text, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": normalized, "special": special} for i, (text, special, normalized) in enumerate(tokens)]
    return t("added_tokens", ADDED + more)


def decoder(tokens):
    """The same in the form of added_tokens_decoder."""
    return {str(id): {"content": text, "lstrip": False, "normalized": normalized, "rstrip": False, "single_word": False,
                      "special": special} for id, (text, special, normalized) in tokens.items()}


def template(single, pair):
    item = lambda token, kind: {"Sequence" if token in "AB" else "SpecialToken": {"id": token, "type_id": kind}}
    return t("post_processor", {"type": "TemplateProcessing", "single": [item(x, 0) for x in single], "pair": [item(x, 0) for x in pair],
                                "special_tokens": {a["content"]: {"id": a["content"], "ids": [a["id"]], "tokens": [a["content"]]} for a in ADDED}})


LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 1024}
BIASES = [[f"model.layers.{i}.{name}.bias", [rows]] for i in range(2) for name, rows in (
    ("self_attn.q_proj", 32), ("self_attn.k_proj", 16), ("self_attn.v_proj", 16), ("self_attn.o_proj", 32),
    ("mlp.gate_proj", 48), ("mlp.up_proj", 48), ("mlp.down_proj", 32))]

case("plain")
case("head_dim", c("head_dim", 16), head_dim=16)
case("linear", c("rope_scaling", {"type": "linear", "factor": 2.0}))
case("yarn", c("rope_scaling", {"rope_type": "yarn", "factor": 4, "beta_fast": 32, "beta_slow": 1, "attention_factor": 1.25,
                                "extrapolation_factor": 0.5}))
case("yarn original context", c("rope_scaling", {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024, "attn_factor": 1.5}))
case("dynamic", c("rope_scaling", {"type": "dynamic", "factor": 2.0}))
case("unknown scaling", c("rope_scaling", {"rope_type": "weird", "factor": 2.0}))
case("llama3", c("rope_scaling", LLAMA3))
case("llama3 wide", c("rope_theta", 500000), c("head_dim", 128), c("rope_scaling", {**LLAMA3, "factor": 32.0, "original_max_position_embeddings": 8192}),
     head_dim=128)
case("llama3 of transformers 5", c("torch_dtype"), c("rope_theta"), c("dtype", "bfloat16"), c("rope_parameters", {**LLAMA3, "rope_theta": 500000.0}))
case("both styles", c("rope_theta", 777.0), c("rope_parameters", {"rope_type": "linear", "factor": 3.0}), c("rope_scaling", {"type": "linear", "factor": 5.0}))
case("defaults", *[c(key) for key in ("num_key_value_heads", "rope_theta", "rms_norm_eps", "max_position_embeddings")], kv_heads=4)
case("null key heads", c("num_key_value_heads", None), kv_heads=4)
case("mistral defaults", c("architectures", ["MistralForCausalLM"]), c("model_type", "mistral"), c("num_attention_heads", 16),
     *[c(key) for key in ("num_key_value_heads", "rope_theta", "rms_norm_eps", "max_position_embeddings")], heads=16, kv_heads=8, head_dim=2)
case("biases", c("attention_bias", True), c("mlp_bias", True), extra=BIASES)
case("stored frequencies", extra=[[f"model.layers.{i}.self_attn.rotary_emb.inv_freq", [4]] for i in range(2)])
case("tied", c("tie_word_embeddings", True), head=False)
case("tied, with head", c("tie_word_embeddings", True), head=True)
case("twelve layers", c("num_hidden_layers", 12), layers=12)
case("f16", dtype="F16", outtype="f16")
case("f32", dtype="F32", outtype="f32")
case("f64", dtype="F64", outtype="f32")
case("padding", c("vocab_size", TOKENS + 7), rows=TOKENS + 7)
case("ids", c("bos_token_id", 5), c("eos_token_id", [1, 2]), c("pad_token_id", 7), c("sep_token_id", 9), c("unk_token_id", 0), c("mask_token_id", 4))
case("pairs", t("model/merges", [m.split(" ") if isinstance(m, str) else m for m in TOKENIZER["model"]["merges"]]))
case("strings", t("model/merges", [m if isinstance(m, str) else " ".join(m) for m in TOKENIZER["model"]["merges"]]))
case("added", c("vocab_size", TOKENS + 12), added(
    ("<tool>", False, False), ("\u2581\u2581", False, False), ("\u2581x", True, False), ("\u0120\u0120", False, False), ("\u0120\u0120n", False, True),
    ("caf\u00e9", False, False), ("<|look|>", False, False), ("<unused3>", False, False), ("<mask>", False, True), ("  ", False, False),
    ("<\uff5cx\uff5c>", False, False)), rows=TOKENS + 12)
case("decoder", c("vocab_size", TOKENS + 3), tc("added_tokens_decoder", decoder({
    300: ("<b>", False, False), 299: ("<a>", True, True), ADDED[2]["id"]: (NAMES[2], False, True)})), rows=TOKENS + 3)
case("named, not special", t("added_tokens", [{**a, "special": False, "content": a["content"].strip("<|>")} for a in ADDED]),
     t("post_processor", None), tc("bos_token", NAMES[0].strip("<|>")), tc("eos_token", NAMES[1].strip("<|>")), tc("added_tokens_decoder"))
case("further special", c("vocab_size", TOKENS + 6), tc("additional_special_tokens", ["<x1>", "!"]), tc("pad_token", "<pad-me>"), tc("own_token", "<own>"),
     rows=TOKENS + 6)
case("special_tokens_map", c("vocab_size", TOKENS + 6), tc("added_tokens_decoder"), rows=TOKENS + 6, files={
    "special_tokens_map.json": json.dumps({"pad_token": {"content": "<mpad>", "lstrip": False}, "additional_special_tokens": ["<mx>"]}),
    "added_tokens.json": json.dumps({"<late>": TOKENS + 1, "<early>": TOKENS, "<mpad>": TOKENS + 2})})
case("tokens as objects", tc("bos_token", {"__type": "AddedToken", "content": NAMES[0]}), tc("eos_token", {"__type": "AddedToken", "content": NAMES[1]}))
case("flags", tc("add_bos_token", False), tc("add_eos_token", True), tc("add_sep_token", True), tc("add_prefix_space", True))
case("no post-processor", t("post_processor", None), tc("add_bos_token", True))
case("template with other end", template([NAMES[0], "A", NAMES[2]], [NAMES[0], "A", NAMES[2], "B", NAMES[2]]))
case("template with separator", tc("sep_token", NAMES[3]), template([NAMES[0], "A"], [NAMES[0], "A", NAMES[3], "B"]))
case("template with two ends", tc("eos_token", NAMES[1]), template(["A", NAMES[1]], ["A", NAMES[1], NAMES[1], "B", NAMES[1]]))
case("template of classification", tc("bos_token"), tc("eos_token"), tc("cls_token", NAMES[0]), tc("sep_token", NAMES[1]),
     template([NAMES[0], "A", NAMES[1]], [NAMES[0], "A", NAMES[1], "B", NAMES[1]]))
case("roberta", t("post_processor", {"type": "RobertaProcessing", "sep": [NAMES[1], ADDED[1]["id"]], "cls": [NAMES[0], ADDED[0]["id"]],
                                     "trim_offsets": True, "add_prefix_space": False}))
case("no tokenizer_config", files={"tokenizer_config.json": None})
case("one named chat template", tc("chat_template", [{"name": "tool use", "template": "T\r\n"}, {"name": "default", "template": "D"}]))
case("no chat template", tc("chat_template", None), files={"chat_template.jinja": "unused"})
case("jinja", tc("chat_template"), files={"chat_template.jinja": "a\r\nb\rc\n"})
case("two jinja", tc("chat_template"), files={"chat_template.jinja": "a", "additional_chat_templates/rag.jinja": "r"})
case("chat_template.json", tc("chat_template"), files={"chat_template.json": json.dumps({"chat_template": "J"})})
case("nothing optional", files={"README.md": None, "generation_config.json": None})


# ---------------------------------------------------------------- SentencePiece

LETTERS = ["\u2581", "e", "t", "a", "o", "n", "\u2581t", "\u2581th", "\u2581the", "an", "\u2581an"]
PIECES = [("<unk>", 0, 2), ("<s>", 0, 3), ("</s>", 0, 3), *[(f"<0x{b:02X}>", 0, 6) for b in range(256)], ("[USER]", 0, 4), ("[OLD]", 0, 5),
          *[(text, -float(i), 1) for i, text in enumerate(LETTERS)]]
SPM = b"".join(piece(*p) for p in PIECES) + field(2, b"\x18\x02\xa0\x06\x00" + b"\x98\x02\x01")
SPM_CONFIG = json.dumps({"add_bos_token": True, "add_eos_token": False, "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>",
                         "tokenizer_class": "LlamaTokenizer", "chat_template": "C"})
P = len(PIECES)


def sentencepiece(name, *edits, rows=P, files=None):
    files = {"tokenizer.json": None, "tokenizer_config.json": SPM_CONFIG,
             "tokenizer.model": {"base64": base64.b64encode(SPM).decode()}, **(files or {})}
    case(name, c("vocab_size", rows), c("bos_token_id", 1), c("eos_token_id", 2), *edits, rows=rows, files=files)


sentencepiece("sentencepiece")
sentencepiece("sentencepiece, padding", rows=P + 5)
sentencepiece("sentencepiece, cut", rows=P - 5)
sentencepiece("sentencepiece, no config", files={"tokenizer_config.json": None})
sentencepiece("sentencepiece, ids out of range", c("pad_token_id", P), c("unk_token_id", P - 1))
sentencepiece("sentencepiece, added", rows=P + 6, files={
    "added_tokens.json": json.dumps({"<a>": P, "\u2581b": P + 1, "<far>": 40000, "<s>": 1}),
    "tokenizer_config.json": json.dumps({**json.loads(SPM_CONFIG), "add_prefix_space": False, "added_tokens_decoder": decoder({
        P + 2: ("<x>", False, False), P + 3: ("\u2581\u2581y", False, False), P + 4: ("<|im_start|>", False, False), P + 5: ("<sp>", True, False),
        300000: ("far", False, False)})})})

# the same vocabulary as a tokenizer.json
LIKE = {"version": "1.0", "added_tokens": [{"id": i, "content": PIECES[i][0], "single_word": False, "lstrip": False, "rstrip": False,
                                            "normalized": False, "special": True} for i in range(3)],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"},
                                                           {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]},
        "pre_tokenizer": None,
        "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
                           "pair": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                                    {"SpecialToken": {"id": "<s>", "type_id": 1}}, {"Sequence": {"id": "B", "type_id": 1}}],
                           "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"},
                                                     {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": True,
                  "byte_fallback": True, "vocab": {p[0]: i for i, p in enumerate(PIECES)}, "merges": ["\u2581 t", "a n"]}}


def like(name, *edits, rows=P, config=SPM_CONFIG, added=()):
    tokenizer = {**LIKE, "added_tokens": LIKE["added_tokens"] + [{"id": P + i, "content": text, "single_word": False, "lstrip": False, "rstrip": False,
                                                                 "normalized": normalized, "special": special}
                                                                for i, (text, special, normalized) in enumerate(added)]}
    files = {"tokenizer.json": json.dumps(tokenizer, ensure_ascii=False), "tokenizer_config.json": config}
    case(name, c("vocab_size", rows), c("bos_token_id", 1), c("eos_token_id", 2), *edits, rows=rows, files=files)


like("sentencepiece-like")
like("sentencepiece-like, no config", config=None)
like("sentencepiece-like, added", rows=P + 3, added=[("<a>", False, False), ("<|b|>", False, True), ("<c>", True, False)],
     config=json.dumps({**json.loads(SPM_CONFIG), "pad_token": "<a>", "additional_special_tokens": ["<c>"]}))


# ---------------------------------------------------------------- run

def apply(edit, folder):
    file, pointer, *value = edit
    path = folder / file
    if not path.exists():
        return
    root = json.loads(path.read_text())
    *parents, last = pointer[1:].split("/")
    at = root
    for key in parents:
        at = at[key]
    if value:
        at[last] = value[0]
    else:
        at.pop(last, None)
    path.write_text(json.dumps(root, ensure_ascii=False))


def tensors(k):
    h, f, kv, q = 32, 48, k["kv_heads"] * k["head_dim"], k["heads"] * k["head_dim"]
    rows = k["rows"] or TOKENS
    out = [["model.embed_tokens.weight", [rows, h]]]
    for i in range(k["layers"]):
        p = f"model.layers.{i}."
        out += [[p + "input_layernorm.weight", [h]], [p + "post_attention_layernorm.weight", [h]], [p + "self_attn.q_proj.weight", [q, h]],
                [p + "self_attn.k_proj.weight", [kv, h]], [p + "self_attn.v_proj.weight", [kv, h]], [p + "self_attn.o_proj.weight", [h, q]],
                [p + "mlp.gate_proj.weight", [f, h]], [p + "mlp.up_proj.weight", [f, h]], [p + "mlp.down_proj.weight", [h, f]]]
    out.append(["model.norm.weight", [h]])
    if (not TIED) if k["head"] is None else k["head"]:
        out.append(["lm_head.weight", [rows, h]])
    return [[name, k["dtype"], shape] for name, shape in out + list(k["extra"])]


def save(path, listed):
    header, at = {}, 0
    for name, dtype, shape in listed:
        size = {"BF16": 2, "F16": 2, "F32": 4, "F64": 8}[dtype]
        for n in shape:
            size *= n
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    path.write_bytes(len(head).to_bytes(8, "little") + head + bytes(at))


def describe(path):
    reader, metadata = GGUFReader(path), []
    for key, f in reader.fields.items():
        if key.startswith("GGUF."):
            continue
        kind, value = "/".join(x.name for x in f.types), f.contents()
        if isinstance(value, list) and len(value) > 40:
            value = [len(value), hashlib.sha256(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()[:16]]
        metadata.append([key, kind, value])
    out = []
    for x in reader.tensors:
        row = [x.name, [int(n) for n in reversed(x.shape)], x.tensor_type.name]
        if x.name == "rope_freqs.weight":
            row.append([int(bits) for bits in x.data.view("uint32")])
        out.append(row)
    return metadata, out


def write(rows):
    """Prints the cases. What they have in common is written once: files, lists of tensors and entries of metadata stand as
    numbers, positions in `values`."""
    texts = {}
    line = lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    number = lambda value: texts.setdefault(line(value), len(texts))
    for row in rows:
        row["files"] = {name: number(content) for name, content in row["files"].items()}
        row["metadata"] = [number(entry) for entry in row["metadata"]]
        row["checkpoint"], row["tensors"] = number(row["checkpoint"]), number(row["tensors"])
    print('{"values":[\n' + ",\n".join(texts) + '\n],"cases":[\n' + ",\n".join(map(line, rows)) + "\n]}")


def main():
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for k in CASES:
            folder = pathlib.Path(scratch) / "tiny-llama"
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(FIXTURE, folder)
            for name, text in k["files"].items():
                path = folder / name
                path.unlink(missing_ok=True)
                if text is not None:
                    path.parent.mkdir(exist_ok=True)
                    path.write_bytes(base64.b64decode(text["base64"]) if isinstance(text, dict) else text.encode())
            for edit in k["edits"]:
                apply(edit, folder)
            listed = tensors(k)
            save(folder / "model.safetensors", listed)
            out = pathlib.Path(scratch) / "out.gguf"
            sys.argv = ["convert", str(folder), "--outtype", k["outtype"], "--outfile", str(out)]
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                convert_hf_to_gguf.main()
            metadata, got = describe(out)
            rows.append({"case": k["name"], "edits": k["edits"], "files": k["files"], "checkpoint": listed, "metadata": metadata, "tensors": got})
    write(rows)

main()
