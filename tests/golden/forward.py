#!/usr/bin/env python3
"""Writes forward.json: llama.cpp's perplexity of the tiny checkpoints of families/, with weights that compute something.

usage: forward.py QUANTIZE [CASE...]     QUANTIZE is this project's program, whose files equal the converter's (tests/families)

Needs llama-cpp-python 0.3.36 (its llama.cpp runs the models, with default settings on the CPU), gguf and numpy. The weights
of the checkpoints are so small that all tokens are about as likely; `enlarge` multiplies matrices by 16 and makes the scales of
norms numbers around 1, as the test in tests/families/forward.rs does. The text is `text`, in sequences of 64 tokens, of which
llama-perplexity's way to count predicts the second half. Cases that llama.cpp does not load or finds not finite, and those that this program does not run, are left out.
"""
import importlib.util
import json
import pathlib
import re
import subprocess
import sys
import tempfile

import numpy as np
from gguf import GGUFReader

HERE = pathlib.Path(__file__).parent.absolute()
CONTEXT, SEQUENCES = 64, 4
NOT_RUN = ("qwen3_next", "qwen3_5")
LETTERS = "  eetaaThcpil\n"


def text():
    """6000 letters that every vocabulary of the cases has, in an order of their own."""
    state, letters = 1, []
    for _ in range(6000):
        state = (state * 1103515245 + 12345) % 2**31
        letters.append(LETTERS[(state >> 16) % len(LETTERS)])
    return "".join(letters)


def enlarge(path):
    for tensor in GGUFReader(path, "r+").tensors:
        data, kind = tensor.data, tensor.tensor_type.name
        if kind == "F32" and tensor.name.endswith("norm.weight"):
            data[...] = 1 + 4 * data
        elif kind == "F32" and not tensor.name.startswith("rope"):
            data[...] = (4 if tensor.name.endswith(".bias") else 16) * data
        elif kind in ("BF16", "F16"):
            bits = data.view(np.uint16)
            bits[...] = np.where(bits & 0x7FFF, bits + (4 << {"BF16": 7, "F16": 10}[kind]), bits)


def perplexity(path):
    import llama_cpp
    model = llama_cpp.Llama(model_path=str(path), n_ctx=CONTEXT, n_batch=CONTEXT, logits_all=True, verbose=False, n_threads=1, n_threads_batch=1)
    tokens = model.tokenize(text().encode(), add_bos=True, special=False)
    begins = llama_cpp.llama_vocab_get_add_bos(model._model.vocab)
    losses = []
    for first in range(0, SEQUENCES * CONTEXT, CONTEXT):
        chunk = tokens[first:first + CONTEXT]
        assert len(chunk) == CONTEXT
        if begins:
            chunk[0] = model.token_bos()
        model.reset()
        model.eval(chunk)
        for place in range(CONTEXT // 2, CONTEXT - 1):
            logits = np.array(model.scores[place], dtype=np.float64)
            losses.append(np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[chunk[place + 1]])
    return float(np.exp(np.mean(losses)))


def made(name, quantize, folder):
    """The model of a case, enlarged."""
    spec = importlib.util.spec_from_file_location("tiny_families", HERE / "families.py")
    families = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(families)
    case = families.read(HERE / f"families/{name}.json")
    (folder / name).mkdir()
    families.make(folder / name, case)
    path = folder / "model.gguf"
    subprocess.run([quantize, folder / name, "-t", case["outtype"], "-o", path, "-q"], check=True)
    enlarge(path)
    return path


def main():
    if sys.argv[1] == "--run":
        print(perplexity(sys.argv[2]))
        return
    sys.path.insert(0, str(HERE))
    names = sys.argv[2:] or sorted(path.stem for path in (HERE / "families").glob("*.json"))
    found = {}
    for name in [name for name in names if not name.startswith(NOT_RUN)]:
        with tempfile.TemporaryDirectory() as folder:
            path = made(name, sys.argv[1], pathlib.Path(folder))
            # llama.cpp ends the process where it cannot go on
            done = subprocess.run([sys.executable, __file__, "--run", path], capture_output=True, text=True)
        value = float(done.stdout) if re.fullmatch(r"[0-9.e+]+\n", done.stdout) else None
        print(name, value or done.stdout.strip() or done.stderr.strip()[-100:], flush=True)
        if value and np.isfinite(value):
            found[name] = float(f"{value:.7g}")
    (HERE / "forward.json").write_text(json.dumps(found, indent=0) + "\n")


main()
