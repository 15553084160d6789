#!/usr/bin/env python3
"""Writes forward.json: llama.cpp's perplexity of the tiny checkpoints of families/, with weights that compute something.

usage: forward.py QUANTIZE [CASE...]     QUANTIZE is this project's program, whose files equal the converter's (tests/families)

Needs llama.cpp v0.5.0 as a library ($ORACLE_HOME/ggml, which runs the models with default settings on the CPU), gguf and numpy. The weights
of the checkpoints are so small that all tokens are about as likely; `enlarge` multiplies matrices by 4 and makes the scales of
norms numbers around 1 (Gemma's are), as the test in tests/families/forward.rs does. With larger weights attention becomes all or
nothing, and one f16 key that is rounded the other way shows in the result. The text is `text`, in sequences of 64 tokens, of which
llama-perplexity's way to count predicts the second half. Cases that llama.cpp does not load or finds not finite, and those that this program does not run, are left out.
"""
import ctypes as C
import importlib.util
import json
import os
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


def enlarge(path, gemma):
    for tensor in GGUFReader(path, "r+").tensors:
        data, kind = tensor.data, tensor.tensor_type.name
        if kind == "F32" and tensor.name.endswith("norm.weight"):
            data[...] = data if gemma else 1 + 4 * data
        elif kind == "F32" and not tensor.name.startswith("rope"):
            data[...] = 4 * data
        elif kind in ("BF16", "F16"):
            bits = data.view(np.uint16)
            bits[...] = np.where(bits & 0x7FFF, bits + (2 << {"BF16": 7, "F16": 10}[kind]), bits)


class Batch(C.Structure):
    _fields_ = [("count", C.c_int32), ("token", C.POINTER(C.c_int32)), ("embeddings", C.c_void_p), ("position", C.POINTER(C.c_int32)),
                ("sequences", C.POINTER(C.c_int32)), ("sequence", C.POINTER(C.POINTER(C.c_int32))), ("output", C.POINTER(C.c_int8))]


class Model(C.Structure):
    """llama_model_params, of which only the defaults are used."""
    _fields_ = [("pointers", C.c_void_p * 2), ("numbers", C.c_int32 * 5), ("others", C.c_void_p * 4), ("flags", C.c_bool * 6)]


class Context(C.Structure):
    """llama_context_params."""
    _fields_ = [("tokens", C.c_uint32), ("batch", C.c_uint32), ("microbatch", C.c_uint32), ("sequences", C.c_uint32), ("counts", C.c_uint32 * 3),
                ("threads", C.c_int32 * 2), ("kinds", C.c_int32 * 5), ("rope", C.c_float * 6), ("context", C.c_uint32), ("threshold", C.c_float),
                ("callback", C.c_void_p * 2), ("cache", C.c_int32 * 2), ("abort", C.c_void_p * 2), ("flags", C.c_bool * 6),
                ("samplers", C.c_void_p), ("sampler_count", C.c_size_t), ("other", C.c_void_p)]


def llama():
    """llama.cpp's library, with the CPU back end for processors with AVX2."""
    home = pathlib.Path(os.environ.get("ORACLE_HOME", pathlib.Path.home() / ".cache/quantize-oracle")) / "ggml"
    load = lambda name: C.CDLL(str(next(home.glob(name))), mode=C.RTLD_GLOBAL)
    load("libggml-base.so")
    backends, library = load("libggml.v*.so"), load("libllama.v*.so")
    backends.ggml_backend_load.restype = C.c_void_p
    assert backends.ggml_backend_load(str(home / "libggml-cpu-haswell.so").encode())
    signatures = {"model_default_params": (Model, []), "context_default_params": (Context, []), "model_load_from_file": (C.c_void_p, [C.c_char_p, Model]),
                  "init_from_model": (C.c_void_p, [C.c_void_p, Context]), "batch_init": (Batch, [C.c_int32] * 3), "decode": (C.c_int32, [C.c_void_p, Batch]),
                  "get_logits": (C.POINTER(C.c_float), [C.c_void_p]), "get_memory": (C.c_void_p, [C.c_void_p]), "memory_clear": (None, [C.c_void_p, C.c_bool]),
                  "model_get_vocab": (C.c_void_p, [C.c_void_p]), "vocab_n_tokens": (C.c_int32, [C.c_void_p]), "vocab_bos": (C.c_int32, [C.c_void_p]),
                  "vocab_get_add_bos": (C.c_bool, [C.c_void_p]),
                  "tokenize": (C.c_int32, [C.c_void_p, C.c_char_p, C.c_int32, C.c_void_p, C.c_int32, C.c_bool, C.c_bool])}
    for name, (result, arguments) in signatures.items():
        function = getattr(library, f"llama_{name}")
        function.restype, function.argtypes = result, arguments
    library.llama_backend_init()
    return library


def perplexity(path):
    library = llama()
    model = library.llama_model_load_from_file(str(path).encode(), library.llama_model_default_params())
    assert model, "not loaded"
    vocabulary = library.llama_model_get_vocab(model)
    count, content = library.llama_vocab_n_tokens(vocabulary), text().encode()
    tokens = (C.c_int32 * (len(content) + 8))()
    tokens = tokens[:library.llama_tokenize(vocabulary, content, len(content), tokens, len(tokens), True, False)]
    settings = library.llama_context_default_params()
    settings.tokens = settings.batch = settings.microbatch = CONTEXT
    settings.threads[0] = settings.threads[1] = 1
    context = library.llama_init_from_model(model, settings)
    batch = library.llama_batch_init(CONTEXT, 0, 1)
    losses = []
    for first in range(0, SEQUENCES * CONTEXT, CONTEXT):
        chunk = tokens[first:first + CONTEXT]
        assert len(chunk) == CONTEXT
        if library.llama_vocab_get_add_bos(vocabulary):
            chunk[0] = library.llama_vocab_bos(vocabulary)
        library.llama_memory_clear(library.llama_get_memory(context), True)
        batch.count = CONTEXT
        for place, token in enumerate(chunk):
            batch.token[place], batch.position[place], batch.sequences[place], batch.sequence[place][0], batch.output[place] = token, place, 1, 0, 1
        assert library.llama_decode(context, batch) == 0
        logits = np.ctypeslib.as_array(library.llama_get_logits(context), (CONTEXT, count)).astype(np.float64)
        for place in range(CONTEXT // 2, CONTEXT - 1):
            row = logits[place]
            losses.append(np.log(np.exp(row - row.max()).sum()) + row.max() - row[chunk[place + 1]])
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
    enlarge(path, name.startswith("gemma"))
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
