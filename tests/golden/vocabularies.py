#!/usr/bin/env python3
"""Writes vocabularies.json: what llama.cpp's converter makes of tiny vocabularies in every form that it reads.

usage: vocabularies.py REFERENCE > vocabularies.json
  REFERENCE  folder with venv/ and llama.cpp/, as setup_reference.sh installs them; run with its venv/bin/python

Each case has the files of a checkpoint, the kind of vocabulary that its family has, and the rows of its embeddings. Recorded
are the `tokenizer.` keys that the converter writes with --vocab-only, in its order (long arrays as count and SHA-256 of their
JSON). Files are numbers of `contents`. The converter does not know the hashes of these vocabularies and is told the name of the pre-tokenizer.

Set by hand, where the converter as it stands makes no usable file (`by_hand` says which):
- tiktoken's ranks in a tokenizer.model: the merges, which it leaves out; they are those that transformers converts the file to
- DeepSeek: add_bos_token, see the oracle's README
- the first Qwen: its tokenizer is code from the hub, for which a stand-in with the same attributes is loaded
"""
import base64
import contextlib
import hashlib
import io
import json
import logging
import os
import pathlib
import shutil
import sys
import tempfile

from sentencepiece_model import field, piece

REFERENCE = pathlib.Path(sys.argv[1]).absolute()
sys.path.insert(0, str(REFERENCE / "llama.cpp"))
logging.disable(logging.CRITICAL)
os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import convert_hf_to_gguf  # noqa: E402
import transformers  # noqa: E402
from conversion.base import TextModel  # noqa: E402
from gguf import GGUFReader  # noqa: E402
from mistral_common.tokens.tokenizers.tekken import Tekkenizer  # noqa: E402
from transformers.convert_slow_tokenizer import TikTokenConverter, bytes_to_unicode  # noqa: E402

LETTERS = bytes_to_unicode()
PRE = [None]
TextModel.get_vocab_base_pre = lambda self, tokenizer: PRE[0]
CASES = []


def case(name, vocabulary, rows, config, files, pre=None, by_hand=(), load=None):
    CASES.append(dict(case=name, vocabulary=vocabulary, rows=rows, pre=pre, config=config, files=files, by_hand=list(by_hand), load=load))


def config(architecture, model_type, rows, **more):
    return {"architectures": [architecture], "model_type": model_type, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1,
            "num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
            "vocab_size": rows, **more}


# ---------------------------------------------------------------- byte-level

WORDS = [b"th", b" th", b" the", b"he", b"\xc3\xa9", b"\xe4\xb8"]
RANKS = [bytes([b]) for b in range(256)] + WORDS
TOKENS = {"".join(LETTERS[b] for b in token): rank for rank, token in enumerate(RANKS)}
MERGES = ["t h", "\u0120 th", "\u0120th e", "h e", "\u00c3 \u00a9", "\u00e4 \u00b8"]
BASE = len(TOKENS)
SPLIT = {"llama-bpe": "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}
SPLIT["glm4"] = SPLIT["dbrx"] = SPLIT["llama-bpe"]
SPLIT["qwen2"] = SPLIT["llama-bpe"].replace("{1,3}", "")


def added(*tokens, first=BASE):
    return [{"id": first + i, "content": t, "single_word": False, "lstrip": False, "rstrip": False, "normalized": normalized, "special": special}
            for i, (t, special, normalized) in enumerate(tokens)]


def tokenizer_json(pre, tokens=(), post=None, ignore_merges=False):
    steps = [{"type": "Split", "pattern": {"Regex": SPLIT[pre]}, "behavior": "Isolated", "invert": False},
             {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}]
    return json.dumps({"version": "1.0", "truncation": None, "padding": None, "added_tokens": list(tokens), "normalizer": None,
                       "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps},
                       "post_processor": post or {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True},
                       "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
                       "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
                                 "fuse_unk": False, "byte_fallback": False, "ignore_merges": ignore_merges, "vocab": TOKENS, "merges": MERGES}},
                      ensure_ascii=False)


def tokenizer_config(**settings):
    return json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **settings})


GLM = added(("<|endoftext|>", True, False), ("[MASK]", True, False), ("[gMASK]", True, False), ("<sop>", True, False), ("<|user|>", True, False),
            ("<|observation|>", True, False), ("<think>", False, False))
GLM_CONFIG = tokenizer_config(eos_token="<|endoftext|>", pad_token="<|endoftext|>", chat_template="[gMASK]<sop>")
GLM_FILES = {"tokenizer.json": tokenizer_json("glm4", GLM), "tokenizer_config.json": GLM_CONFIG}
EXPERTS = dict(n_routed_experts=2, n_shared_experts=1, num_experts_per_tok=1, moe_intermediate_size=8, first_k_dense_replace=1,
               routed_scaling_factor=1.0, norm_topk_prob=True, n_group=1, topk_group=1)
ROWS = BASE + 10
case("glm 4 0414", "Glm4", ROWS, config("Glm4ForCausalLM", "glm4", ROWS, eos_token_id=[BASE, BASE + 4], pad_token_id=BASE), GLM_FILES, "glm4")
case("glm 4, bos in config", "Glm4", ROWS, config("Glm4ForCausalLM", "glm4", ROWS, bos_token_id=BASE + 3, eos_token_id=BASE + 4), GLM_FILES, "glm4")
case("glm 4.5", "Glm4Moe", ROWS, config("Glm4MoeForCausalLM", "glm4_moe", ROWS, eos_token_id=[BASE], num_nextn_predict_layers=0, head_dim=32, **EXPERTS),
     GLM_FILES, "glm4")
LATENT = dict(kv_lora_rank=8, q_lora_rank=8, qk_nope_head_dim=8, qk_rope_head_dim=8, v_head_dim=8, scoring_func="softmax", moe_layer_freq=1)
DEEPSEEK = {"tokenizer.json": tokenizer_json("llama-bpe", added(("<\uff5cbegin\u2581of\u2581sentence\uff5c>", True, False),
                                                                ("<\uff5cend\u2581of\u2581sentence\uff5c>", True, False))),
            "tokenizer_config.json": tokenizer_config(add_bos_token=True, add_eos_token=False,
                                                      bos_token={"__type": "AddedToken", "content": "<\uff5cbegin\u2581of\u2581sentence\uff5c>"},
                                                      eos_token={"__type": "AddedToken", "content": "<\uff5cend\u2581of\u2581sentence\uff5c>"})}
case("deepseek", "DeepSeek", BASE + 4, config("DeepseekV2ForCausalLM", "deepseek_v2", BASE + 4, bos_token_id=BASE, eos_token_id=BASE + 1, **EXPERTS, **LATENT),
     DEEPSEEK, "dbrx", by_hand=[("tokenizer.ggml.add_bos_token", "BOOL", True)])
case("phi 4", "Phi3", BASE + 4, config("Phi3ForCausalLM", "phi3", BASE + 4, original_max_position_embeddings=128, sliding_window=None),
     {"tokenizer.json": tokenizer_json("dbrx", added(("<|endoftext|>", True, False), ("<|im_start|>", False, False))),
      "tokenizer_config.json": tokenizer_config(tokenizer_class="GPT2Tokenizer", bos_token="<|endoftext|>", eos_token="<|endoftext|>")}, "dbrx")
case("qwen 2", "Qwen2", BASE + 4, config("Qwen2ForCausalLM", "qwen2", BASE + 4, eos_token_id=BASE),
     {"tokenizer.json": tokenizer_json("qwen2", added(("<|endoftext|>", True, False), ("<tool_call>", False, False))),
      "tokenizer_config.json": tokenizer_config(tokenizer_class="Qwen2Tokenizer", eos_token="<|endoftext|>", pad_token="<|endoftext|>", add_bos_token=False,
                                                unk_token=None, bos_token=None)}, "qwen2")
case("added tokens with a gap before them", "ByteLevel", BASE + 9, config("Olmo2ForCausalLM", "olmo2", BASE + 9),
     {"tokenizer.json": tokenizer_json("dbrx", added(("<a>", True, False), ("<b>", False, False), first=BASE + 3)),
      "tokenizer_config.json": tokenizer_config(eos_token="<a>")}, "dbrx")

MERGES_TXT = "#version: 0.2\n" + "\n".join(MERGES) + "\n"
OLD = {"vocab.json": json.dumps({**TOKENS, "<|endoftext|>": BASE}, ensure_ascii=False), "merges.txt": MERGES_TXT}
case("vocab.json of gpt-2's class", "ByteLevel", BASE + 1, config("Starcoder2ForCausalLM", "starcoder2", BASE + 1, norm_epsilon=1e-5, bos_token_id=BASE),
     {**OLD, "tokenizer_config.json": json.dumps({"tokenizer_class": "GPT2Tokenizer", "bos_token": "<|endoftext|>"})}, "gpt-2")
case("vocab.json of qwen", "Qwen2", BASE + 6, config("Qwen2ForCausalLM", "qwen2", BASE + 6, eos_token_id=BASE),
     {**OLD, "tokenizer_config.json": json.dumps({"tokenizer_class": "Qwen2Tokenizer", "add_prefix_space": False, "added_tokens_decoder": {
         str(t["id"]): {k: v for k, v in t.items() if k != "id"} for t in added(("<|endoftext|>", True, False), ("<|im_start|>", True, False),
                                                                                ("<tool>", False, True))}})}, "qwen2")
case("vocab.json, tokens beside it", "Qwen2", BASE + 6, config("Qwen2ForCausalLM", "qwen2", BASE + 6, eos_token_id=BASE),
     {**OLD, "added_tokens.json": json.dumps({"<|im_end|>": BASE + 2, "<|im_start|>": BASE + 1}),
      "special_tokens_map.json": json.dumps({"additional_special_tokens": ["<|im_start|>"]})}, "qwen2")

# ---------------------------------------------------------------- ranks

BASE64 = [base64.b64encode(token).decode() for token in RANKS]
TIKTOKEN = "".join(f"{token} {rank}\n" for rank, token in enumerate(BASE64))


def tiktoken_merges():
    with tempfile.NamedTemporaryFile(suffix=".model") as file:
        file.write(TIKTOKEN.encode())
        file.flush()
        return [" ".join(pair) for pair in TikTokenConverter().extract_vocab_merges_from_model(file.name)[1]]


case("tiktoken", "Glm4", BASE + 10, config("Glm4ForCausalLM", "glm4", BASE + 10, eos_token_id=[BASE, BASE + 4]),
     {"tokenizer.model": TIKTOKEN, "tokenizer_config.json": tokenizer_config(eos_token="<|endoftext|>", added_tokens_decoder={
         str(t["id"]): {k: v for k, v in t.items() if k != "id"} for t in GLM})}, "glm4",
     by_hand=[("tokenizer.ggml.merges", "ARRAY/STRING", tiktoken_merges())])


class Qwen:
    """What _set_vocab_qwen asks of QWenTokenizer."""
    mergeable_ranks = {token: rank for rank, token in enumerate(RANKS)}
    special_tokens = {t: BASE + i for i, t in enumerate(["<|endoftext|>", "<|im_start|>", "<|im_end|>", *(f"<|extra_{i}|>" for i in range(205))])}

    def get_vocab(self):
        return {**{str(k): v for k, v in self.mergeable_ranks.items()}, **self.special_tokens}


QWEN = config("QWenLMHeadModel", "qwen", BASE + 213, layer_norm_epsilon=1e-6, kv_channels=32, rotary_emb_base=10000, seq_length=128)
case("qwen 1", "Qwen", BASE + 213, QWEN, {"qwen.tiktoken": TIKTOKEN, "tokenizer_config.json": tokenizer_config()}, "qwen2", load=Qwen)
case("qwen 1, ids in config", "Qwen", BASE + 213, {**QWEN, "eos_token_id": BASE + 2}, {"qwen.tiktoken": TIKTOKEN}, "qwen2", load=Qwen)

TEKKEN_PATTERN = ("[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+"
                  "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+")


def tekken(version, special=None, cut=2):
    """`cut` tokens at the end are beyond the vocabulary."""
    size = BASE - cut + 24
    data = {"config": {"pattern": TEKKEN_PATTERN, "num_vocab_tokens": BASE, "default_vocab_size": size, "default_num_special_tokens": 24, "version": version},
            "vocab": [{"rank": rank, "token_bytes": token, "token_str": None} for rank, token in enumerate(BASE64)]}
    if special:
        data["special_tokens"] = [{"rank": i, "token_str": t, "is_control": True} for i, t in enumerate(special)]
    return size, {"tekken.json": json.dumps(data)}


LISTED = [str(t["token_str"].value) for t in Tekkenizer.DEPRECATED_SPECIAL_TOKENS]
for name, arguments, extra in (("tekken 3", ("v3",), {}), ("tekken 7, named tokens", ("v7", LISTED + ["<mine>"], 0), {"chat_template.jinja": "unused"}),
                               ("tekken 3 with a config", ("v3",), {"tokenizer_config.json": json.dumps({"add_prefix_space": True, "chat_template": "unused"})})):
    size, files = tekken(*arguments)
    case(name, "Llama", size, config("MistralForCausalLM", "mistral", size), {**files, **extra}, "tekken")


# ---------------------------------------------------------------- SentencePiece

PIECES = [("<pad>", 0, 3), ("<eos>", 0, 3), ("<bos>", 0, 3), ("<unk>", 0, 2), ("<mask>", 0, 4), ("<unused0>", 0, 4), ("\u2581\u2581", 0, 4), ("[OLD]", 0, 5),
          *[(f"<0x{b:02X}>", 0, 6) for b in range(256)], *[(text, -float(i), 1) for i, text in enumerate(["\u2581", "e", "t", "\u2581t", "\u2581th"])]]
SPM = b"".join(piece(*p) for p in PIECES) + field(2, b"\x18\x02\xa0\x06\x03" + b"\x98\x02\x01\xc0\x02\x03\xc8\x02\x02\xd0\x02\x01\xd8\x02\x00")
P = len(PIECES)
MODEL = {"tokenizer.model": {"base64": base64.b64encode(SPM).decode()}}
GEMMA = {**MODEL, "tokenizer_config.json": json.dumps({
    "tokenizer_class": "GemmaTokenizer", "add_bos_token": True, "add_eos_token": False, "bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>",
    "pad_token": "<pad>", "chat_template": "G", "added_tokens_decoder": {
        "4": {"content": "<mask>", "special": False}, "5": {"content": "<unused0>", "special": False}, "6": {"content": "\u2581\u2581", "special": False},
        "0": {"content": "<pad>", "special": True}, str(P + 1): {"content": "<start_of_turn>", "special": True}}})}
for name, vocabulary, architecture, kind, more in (
        ("gemma", "Gemma", "GemmaForCausalLM", "gemma", {}),
        ("gemma 2", "Gemma2", "Gemma2ForCausalLM", "gemma2", dict(attn_logit_softcapping=50.0, final_logit_softcapping=30.0, sliding_window=64)),
        ("gemma 3", "Gemma3", "Gemma3ForCausalLM", "gemma3_text", dict(sliding_window=64, sliding_window_pattern=6, rope_local_base_freq=1e4))):
    case(name, vocabulary, P + 4, config(architecture, kind, P + 4, head_dim=32, bos_token_id=2, eos_token_id=[1, P + 1], pad_token_id=0, **more), GEMMA)
case("qwen 2 of sentencepiece", "Qwen2", P + 2, config("Qwen2ForCausalLM", "qwen2", P + 2, bos_token_id=2, eos_token_id=1), MODEL)
PHI_JSON = json.dumps({"added_tokens": [{"id": 1, "content": "<eos>", "special": False}, {"id": P, "content": "<|end|>", "special": True},
                                        {"id": P + 3, "content": "\u2581x", "special": False}], "model": {"type": "BPE", "vocab": {}, "merges": []},
                       "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<bos>", "type_id": 0}},
                                                                                   {"Sequence": {"id": "A", "type_id": 0}}], "pair": []}})
case("phi 3", "Phi3", P + 5, config("Phi3ForCausalLM", "phi3", P + 5, original_max_position_embeddings=128, sliding_window=None, bos_token_id=2, eos_token_id=P),
     {**MODEL, "tokenizer.json": PHI_JSON, "added_tokens.json": json.dumps({"<|late|>": P + 2}),
      "tokenizer_config.json": json.dumps({"tokenizer_class": "LlamaTokenizer", "bos_token": "<bos>", "eos_token": "<|end|>", "unk_token": "<unk>",
                                           "added_tokens_decoder": {str(P): {"content": "<|end|>", "special": True},
                                                                    str(P + 1): {"content": "<|user|>", "special": False}}})})

SPACES = {"added_tokens": added(("<eos>", True, False), ("\u2581\u2581", False, False), ("<start_of_image>", False, False), first=P - 2),
          "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
          "pre_tokenizer": {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}, "post_processor": None,
          "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}]},
          "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": True,
                    "byte_fallback": True, "ignore_merges": False,
                    "vocab": {t: i for i, t in enumerate(p[0] for p in PIECES if p[0] not in ("<eos>", "\u2581\u2581"))}, "merges": ["\u2581 t"]}}
case("gemma 3 without a model", "Gemma3", P + 3, config("Gemma3ForCausalLM", "gemma3_text", P + 3, head_dim=32, sliding_window=64, sliding_window_pattern=6,
                                                       rope_local_base_freq=1e4, eos_token_id=1),
     {"tokenizer.json": json.dumps(SPACES, ensure_ascii=False), "tokenizer_config.json": json.dumps({
         "tokenizer_class": "GemmaTokenizer", "bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>", "pad_token": "<pad>"})}, "granite-embed-multi-311m")


# ---------------------------------------------------------------- run

def write(folder, k):
    folder.mkdir()
    for name, text in k["files"].items():
        (folder / name).write_bytes(base64.b64decode(text["base64"]) if isinstance(text, dict) else text.encode())
    (folder / "config.json").write_text(json.dumps(k["config"]))
    head = json.dumps({"x": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}).encode()
    (folder / "model.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + bytes(2))


def describe(path, by_hand):
    metadata = []
    for key, f in GGUFReader(path).fields.items():
        if key.startswith("tokenizer."):
            metadata.append([key, "/".join(x.name for x in f.types), f.contents()])
    for key, kind, value in by_hand:
        place = next((i for i, entry in enumerate(metadata) if entry[0] == key), None)
        if place is not None:
            metadata[place] = [key, kind, value]
        else:  # merges come after the types
            metadata.insert(1 + next(i for i, entry in enumerate(metadata) if entry[0] == "tokenizer.ggml.token_type"), [key, kind, value])
    for entry in metadata:
        if isinstance(entry[2], list) and len(entry[2]) > 40:
            entry[2] = [len(entry[2]), hashlib.sha256(json.dumps(entry[2], ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()[:16]]
    return metadata


def dump(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def main():
    rows, from_pretrained = [], transformers.AutoTokenizer.from_pretrained
    with tempfile.TemporaryDirectory() as scratch:
        for k in CASES:
            folder, out = pathlib.Path(scratch) / "model", pathlib.Path(scratch) / "out.gguf"
            shutil.rmtree(folder, ignore_errors=True)
            write(folder, k)
            PRE[0], load = k["pre"], k.pop("load")
            transformers.AutoTokenizer.from_pretrained = (lambda *a, **b: load()) if load else from_pretrained
            sys.argv = ["convert", str(folder), "--vocab-only", "--outfile", str(out)]
            try:
                with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                    convert_hf_to_gguf.main()
            except BaseException:
                print(f"failed: {k['case']}", file=sys.stderr)
                raise
            by_hand = k.pop("by_hand")
            rows.append({**k, "files": dict(k["files"]), "by_hand": [entry[0] for entry in by_hand], "metadata": describe(out, by_hand)})
    # files that several cases share stand there once
    contents = []
    for row in rows:
        for name, content in row["files"].items():
            if content not in contents:
                contents.append(content)
            row["files"][name] = contents.index(content)
    lines = ["{\"contents\":[\n" + ",\n".join(map(dump, contents)), "],\"cases\":[\n" + ",\n".join(map(dump, rows)) + "\n]}"]
    print("\n".join(lines))


main()
