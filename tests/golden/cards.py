#!/usr/bin/env python3
"""Writes cards.json: the general.* metadata that gguf-py derives from model cards, names and sizes.

usage: cards.py GGUF_PY > cards.json     GGUF_PY: the folder gguf-py of llama.cpp (needs numpy, PyYAML, tqdm)

Each case is one checkpoint folder: its name, README.md, config.json, generation_config.json and number of weights. What
gguf-py cannot write (it raises) has null in place of the metadata.
"""
import contextlib
import io
import json
import logging
import pathlib
import sys
import tempfile

sys.path.insert(0, sys.argv[1])
import gguf  # noqa: E402

logging.disable(logging.CRITICAL)
B = 1_000_000_000

NAMES = [  # folder names and _name_or_path, with the weights of the model
    ("Meta-Llama-3-8B", 8 * B), ("bloom-7b1", 7 * B), ("Yi-34B-200K", 34 * B), ("Phi-3-mini-128k-instruct", 4 * B),
    ("Phi-3-mini-4k-instruct", 4 * B), ("gpt2-medium", 350_000_000), ("flan-t5-xxl-16b", 16 * B), ("Qwen1.5-MoE-A2.7B-Chat", 14 * B),
    ("falcon-40b-Instruct-GGUF-q4_k_m", 40 * B), ("llama-3.2-1b-fp16", B), ("Model-bf16-7B", 7 * B), ("v2-model", B),
    ("Mistral-7B-7B-v0.1-v0.2", 7 * B), ("a", B), ("-", B), ("--x--7b--", 7 * B), ("two words 7B", 7 * B), ("7B-model", 7 * B),
    ("2048-7B", 7 * B), ("iter5-test-3_5M", 3_500_000), ("Model-small-7B", 7 * B), ("Model-small", 7 * B), ("Model-1T", 10**12),
    ("Ünïcode-模型-7B-größe", 7 * B), ("ßtart-ﬁne-7b-ǆez", 7 * B), ("o'neil_model.v2-it", 7 * B), ("Model-7B-4x7B", 7 * B),
    ("SmolLM2-135M-Instruct-wide", 134_515_008), ("tiny", 0), ("Model-7B", 0), ("Model-lora-7B", 7 * B), ("éa-chat", B),
    ("model-V3", B), ("ITER2", B), ("Model-x7B", 7 * B), ("Model-2x", 7 * B), ("Model-B-7.5b", 7 * B), ("mo del", 3),
    ("general-sized", 12_345), ("x-0.5k", 500), ("model.v1.5", B), ("Llama-3-70B-Instruct-Gradient-262k", 70 * B),
]
PATHS = ["meta-llama/Llama-2-7b-hf", "/home/me/model", "./local-7B", "../up-7b", "", "just-7b-name", "org/some name 7B", "a/b/c-7B", "org-x/"]

CARDS = {
    "empty file": "",
    "no front matter": "# Title\nlicense: mit\n",
    "space after dashes": "--- \nlicense: mit\n---\n",
    "unterminated": "---\nlicense: mit\n",
    "empty front matter": "---\n---\n",
    "only comments": "---\n# nothing\n---\n",
    "not a mapping": "---\n- a\n- b\n---\n",
    "scalar": "---\nplain\n---\n",
    "crlf": "---\r\nlicense: mit\r\ntags:\r\n- a\r\n---\r\nrest\r\n",
    "byte order mark": "\ufeff---\nlicense: mit\n---\n",
    "tabs": "---\nlicense:\tmit\ntags:\n-\ta\n---\n",
    "norway": "---\nlanguage:\n- en\n- no\n- de\n---\n",
    "norway indented": "---\nlanguage:\n  - no\n  - nb\n---\n",
    "norway alone": "---\nlanguage: no\n---\n",
    "norway flow": "---\nlanguage: [no, off]\n---\n",
    "norway mixed": "---\nlanguage: [en, no]\n---\n",
    "language string": "---\nlanguage: en\nlanguages: [de]\n---\n",
    "language null": "---\nlanguage:\n---\n",
    "language mapping": "---\nlanguage: {en: 1}\n---\n",
    "quoted no": "---\nlanguage:\n- \"no\"\n- 'yes'\n---\n",
    "tags": "---\ntags: one\npipeline_tag: [two, three]\n---\n",
    "tags empty": "---\ntags: []\n---\n",
    "tags of numbers": "---\ntags: [2024, 7]\n---\n",
    "tags mixed": "---\ntags: [a, 2024]\n---\n",
    "tags null inside": "---\ntags: [a, ~]\n---\n",
    "tags non-ASCII": "---\ntags:\n- 对话\n- größe\n- 🦙\n---\n",
    "license list": "---\nlicense:\n- mit\n- apache-2.0\n---\n",
    "license falsy": "---\nlicense: no\nlicense_name: 0\nlicense_link: 0.0\nauthor: []\nversion: {}\n---\n",
    "license empty string": "---\nlicense: ''\nname: ''\n---\n",
    "license null": "---\nlicense: ~\nlicense_name: null\n---\n",
    "version number": "---\nversion: 1.0\n---\n",
    "version quoted": "---\nversion: '1.0'\n---\n",
    "version date": "---\nversion: 2024-01-01\n---\n",
    "version words": "---\nversion: 1.0.0\n---\n",
    "author list": "---\nauthor: [a, b]\n---\n",
    "all direct": "---\nname: N\nauthor: A\nversion: V\norganization: O\ndescription: D\nfinetune: F\nbasename: Ba\nsize_label: 7X\nurl: U\n"
                  "doi: Do\nuuid: Uu\nrepo_url: R\nlicense: L\nlicense_name: Ln\nlicense_link: Ll\nmodel_name: other\n---\n",
    "all prefixed": "---\nmodel_name: N\nmodel_author: A\nmodel_version: V\nmodel_organization: O\nmodel_description: D\nmodel_finetune: F\n"
                    "model_basename: Ba\nmodel_size_label: 7X\nmodel_url: U\nmodel_doi: Do\nmodel_uuid: Uu\nmodel_repo_url: R\n"
                    "model_creator: C\nmodel_type: llama\n---\n",
    "the bloke": "---\nmodel_creator: Mistral AI\nmodel_name: Mistral 7B\nmodel_type: mistral\nname: ~\n---\n",
    "base model list": "---\nbase_model:\n- org/Base-7B-v0.1\n- other/Thing\n- bare-name\n- two words\n---\n",
    "base model null": "---\nbase_model:\nbase_models: org/x\n---\n",
    "base model mapping": "---\nbase_model: {name: x}\n---\n",
    "base models": "---\nbase_models: org/some-model-v2\n---\n",
    "base model sources": "---\nbase_model_sources: [org/x]\n---\n",
    "base model addresses": "---\nbase_model:\n- https://huggingface.co/org/Base-7B\n- https://huggingface.co/org/Base/tree/main\n"
                            "- http://example.org/x\n- ssh://git@example.org/x\n- https://huggingface.co/org/some-7b-v1.5\n---\n",
    "base model entries": "---\nbase_model:\n- name: Base\n  author: A\n  version: '1'\n  organization: O\n  description: D\n  url: U\n  doi: X\n"
                          "  uuid: Y\n  repo_url: R\n  other: z\n- {name: '', author: ~}\n- {}\n---\n",
    "base model odd entries": "---\nbase_model: [org/a, 7, ~, [x], org/b]\n---\n",
    "base model dots": "---\nbase_model: [./local/x, ../y, '/z', 'a/']\n---\n",
    "datasets": "---\ndatasets:\n- org/data-set-v1\n- bare\n- https://huggingface.co/datasets/org/x\n- https://huggingface.co/org/data-v2\n---\n",
    "dataset": "---\ndataset: org/one\n---\n",
    "dataset sources": "---\ndataset_sources: [{name: D, repo_url: r}]\n---\n",
    "block scalars": "---\ndescription: |\n  first\n  second\nauthor: >-\n  folded\n  text\n---\n",
    "quoting": "---\nname: \"a\\tb \\u00e9\"\nauthor: 'it''s'\norganization: plain # comment\n---\n",
    "malformed": "---\nlicense: mit\ndescription: a: b\n---\n",
    "license list of numbers": "---\nlicense: [1, 2]\n---\n",
    "quoted colon": "---\ndescription: 'a: b'\nauthor: a#b\nname: http://x.org/y\n---\n",
    "anchors": "---\ntags: &t [a, b]\nlanguage: *t\n---\n",
    "explicit string": "---\nversion: !!str 1.0\n---\n",
    "duplicate keys": "---\nlicense: a\nlicense: b\n---\n",
    "odd keys": "---\nno: x\n1: y\nlicense: mit\n~: z\n---\n",
    "boolean words": "---\nname: y\nauthor: n\nversion: 0o17\norganization: 1e5\nfinetune: 1_0x\nbasename: '='\n---\n",
    "octal and sixty": "---\nversion: 010\n---\n",
    "unknown keys": "---\nlibrary_name: transformers\nmodel-index:\n- name: x\n  results:\n  - task: {type: y}\n    metrics: [{value: 1.5}]\nwidget:\n- text: hi\n---\n",
    "dots end": "---\nlicense: mit\n...\n---\n",
    "vertical tab": "---\nlicense: mit\x0bauthor: me\n---\n",
    "next line": "---\nlicense: mit\u0085author: me\n---\n",
}

GENERATION = [
    {"temperature": 0.6, "top_p": 0.9, "do_sample": True}, {"top_k": 50, "repetition_penalty": 1.05, "temperature": 1},
    {"penalty_repeat": 1.2, "repetition_penalty": 1.05}, {"penalty_repeat": None, "repetition_penalty": 1.05}, {}, {"top_k": 1.5}, {"top_k": True},
    {"sequence": "top_k;temp", "min_p": 0.05, "xtc_probability": 0.1, "xtc_threshold": 0.2, "penalty_last_n": 64, "mirostat": 2,
     "mirostat_tau": 5.0, "mirostat_eta": 0.1}, {"sequence": "", "temperature": None}, {"top_k": 3000000000}, {"temperature": 1e39},
]

SIZES = [1, 999, 1_000, 19_400_000, 99_499_999, 99_500_000, 999_499_999, 999_500_000, 1_000_000_000, 1_000_000_001, 1_150_000_000, 9_950_000_000,
         70_553_706_496, 999_999_999_999, 1_000_000_000_001, 405 * B]


def derive(folder, readme, config, generation, weights):
    with tempfile.TemporaryDirectory() as root:
        path = pathlib.Path(root) / folder
        path.mkdir()
        if readme is not None:
            (path / "README.md").write_bytes(readme.encode())
        (path / "config.json").write_text(json.dumps(config))
        if generation is not None:
            (path / "generation_config.json").write_text(json.dumps(generation))
        try:
            # As prepare_metadata of llama.cpp's conversion/base.py does it.
            metadata = gguf.Metadata.load(None, path, None, weights)
            if metadata.name is None:
                metadata.name = path.name
            if metadata.size_label is None and weights > 0:
                metadata.size_label = gguf.size_label(weights, weights, 0, 0)
            writer = gguf.GGUFWriter(path / "x.gguf", "llama")
            writer.add_type(gguf.GGUFType.MODEL)
            metadata.set_gguf_meta_model(writer)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.close()
        except Exception:
            return None
        fields = gguf.GGUFReader(path / "x.gguf").fields
        return [[key, "/".join(t.name for t in f.types), f.contents()] for key, f in fields.items() if not key.startswith("GGUF.")]


cases = [(n, None, {}, None, w) for n, w in NAMES]
cases += [("Folder-7B-chat", None, {"_name_or_path": p}, None, 7 * B) for p in PATHS]
cases += [("Folder-7B-chat", c, {}, None, 7 * B) for c in CARDS.values()]
cases += [("m", None, {}, g, 7 * B) for g in GENERATION]
cases += [("m", None, {}, None, w) for w in SIZES]
with contextlib.redirect_stdout(io.StringIO()):
    out = [dict(folder=f, readme=r, config=c, generation_config=g, weights=w, metadata=derive(f, r, c, g, w)) for f, r, c, g, w in cases]
print("[\n" + ",\n".join(json.dumps(case, ensure_ascii=False) for case in out) + "\n]")
