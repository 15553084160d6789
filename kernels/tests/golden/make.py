#!/usr/bin/env python3
"""Makes digests.txt: what llama.cpp's own quantizers write for the inputs of the golden tests.

    cargo run -p weightmill-kernels --example golden_inputs -- INPUTS
    python3 make.py ORACLE/ggml.py INPUTS > digests.txt

ORACLE/ggml.py gives class Ggml, with `quantize` and `dequantize` by ggml_quantize_chunk and dequantize_row_* of
llama.cpp v0.5.0 (x86-64, no fused multiply-add), and `lib`, the loaded library. Lines of digests.txt:

    input CASE DIGEST                                weights, then each importance
    TYPE CASE IMPORTANCE DIGEST DECODED ROWS         the blocks; the same blocks dequantized; 4 bits of every row's digest
    TYPE CASE IMPORTANCE rejected BLOCK              ggml_validate_row_data finds fault with this block
                                                     (IMPORTANCE is a list, split by commas, where all give the same)
    TYPE CASE IMPORTANCE aborted                     the reference ends the process instead of writing blocks
    TYPE decode DIGEST                               random blocks dequantized (Q8_1 by its definition in ggml-common.h)

A digest is the first 48 bits of a SHA-256.
"""
import ctypes, hashlib, importlib.util, os, pathlib, signal, sys
import numpy as np

spec = importlib.util.spec_from_file_location("ggml", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
os.environ["GGML_NO_BACKTRACE"] = "1"
ggml, inputs = module.Ggml(), pathlib.Path(sys.argv[2])
ggml.lib.ggml_validate_row_data.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
ggml.lib.ggml_validate_row_data.restype = ctypes.c_bool


def digest(*arrays):
    return hashlib.sha256(b"".join(a.tobytes() for a in arrays)).hexdigest()[:12]


def first_rejected(kind, blocks):
    """Index of the first block that ggml finds fault with, or None."""
    number = ggml.ids[kind.lower()]
    size = ggml.lib.ggml_type_size(number)
    flat = np.ascontiguousarray(blocks).reshape(-1, size)
    if ggml.lib.ggml_validate_row_data(number, flat.ctypes.data, flat.nbytes):
        return None
    return next(i for i, b in enumerate(flat) if not ggml.lib.ggml_validate_row_data(number, b.ctypes.data, size))


def quantize(kind, weights, importance):
    """The blocks, or None if the library calls abort(): so that is done in a process of its own, but only where it may be."""
    if not kind.startswith("IQ"):
        return ggml.quantize(kind, weights, importance)
    ggml.lib.ggml_quantize_init(ggml.ids[kind.lower()])
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        for said in 1, 2:
            os.dup2(os.open(os.devnull, os.O_WRONLY), said)
        with open(write, "wb") as pipe:
            pipe.write(ggml.quantize(kind, weights, importance).tobytes())
        os._exit(0)
    os.close(write)
    with open(read, "rb") as pipe:
        blocks = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGABRT:
        return None
    assert status == 0, f"{kind}: status {status}"
    return np.frombuffer(blocks, np.uint8).reshape(len(weights), -1)


def decode_q8_k(blocks):
    out = np.zeros((len(blocks), 256), np.float32)
    decode = ggml.lib.dequantize_row_q8_K
    decode.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    decode(blocks.ctypes.data, out.ctypes.data, out.size)
    return out


cases = [line.split() for line in (inputs / "index.txt").read_text().splitlines()]
for name, rows, columns, *importances in cases:
    files = [f"{name}.f32"] + [f"{name}.{i}.f32" for i in importances]
    print("input", name, digest(*(np.fromfile(inputs / f, "<f4") for f in files)))
for kind, *source in (line.split() for line in (inputs / "types.txt").read_text().splitlines()):
    length = ggml.lib.ggml_blck_size(ggml.ids[kind.lower()])
    for name, rows, columns, *importances in cases:
        if int(columns) % length or source:
            continue
        weights = np.fromfile(inputs / f"{name}.f32", "<f4").reshape(int(rows), int(columns))
        results = {}
        for importance in ([] if ggml.needs_importance(kind) else ["none"]) + importances:
            columns_importance = None if importance == "none" else np.fromfile(inputs / f"{name}.{importance}.f32", "<f4")
            blocks = quantize(kind, weights, columns_importance)
            rejected = None if blocks is None else first_rejected(kind, blocks)
            if blocks is None:
                result = ("aborted",)
            elif rejected is None:
                decoded = ggml.dequantize(kind, blocks, int(columns))
                result = digest(blocks), digest(decoded), "".join(digest(row)[0] for row in blocks)
            else:
                result = "rejected", rejected
            results.setdefault(result, []).append(importance)
        for result, given in results.items():
            print(kind, name, ",".join(given), *result)
    blocks = np.fromfile(inputs / f"{kind}.bin", np.uint8)
    blocks = blocks.reshape(-1, ggml.lib.ggml_type_size(ggml.ids[kind.lower()]))
    if kind == "Q8_1":  # ggml neither validates nor decodes it
        decoded = blocks[:, :2].copy().view("<f2").astype("<f4") * blocks[:, 4:].view(np.int8).astype("<f4")
    else:
        assert first_rejected(kind, blocks) is None, f"{kind}: the blocks to decode are not sound"
        decoded = decode_q8_k(blocks) if kind == "Q8_K" else ggml.dequantize(kind, blocks, length)
    print(kind, "decode", digest(decoded))
