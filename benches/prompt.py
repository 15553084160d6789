"""Prompts through a BF16 model, here and in llama.cpp: tokens per second, in turns.

usage: PYTHON benches/prompt.py MODEL.gguf TEXT [--chunks N] [--pairs N] [--threads N]

PYTHON has the package llama_cpp_python, built for this machine. Both take the same N chunks of 512 tokens and give the logits of the
second half of each. Of this program the whole run of `quantize evaluate` is measured, which also reads the model, cuts the text into
tokens and computes the perplexity; of llama.cpp evaluating the chunks alone. Exit status 1 if the perplexities differ by
more than 0.5 %.
"""
import argparse
import json
import math
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import time

import llama_cpp
import numpy as np

QUANTIZE = pathlib.Path(__file__).resolve().parent.parent / "target/release/quantize"
CONTEXT = 512


def parse():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model", type=pathlib.Path)
    p.add_argument("text", type=pathlib.Path)
    p.add_argument("--chunks", type=int, default=6)
    p.add_argument("--pairs", type=int, default=5)
    p.add_argument("--threads", type=int, default=os.cpu_count())
    return p.parse_args()


def processor(who):
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def ours(a):
    """Seconds on the clock and of the processors, and the perplexity."""
    command = [QUANTIZE, "evaluate", a.model, "--text", a.text, "--chunks", str(a.chunks), "--threads", str(a.threads), "--json", "--quiet"]
    start, before = time.monotonic(), processor(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, check=True, capture_output=True)
    seconds = time.monotonic() - start, processor(resource.RUSAGE_CHILDREN) - before
    return *seconds, json.loads(done.stdout)["perplexity"]["value"]


def theirs(a, model, tokens):
    context, batch = model.ctx, llama_cpp.llama_batch_init(CONTEXT, 0, 1)
    begins = llama_cpp.llama_vocab_get_add_bos(model._model.vocab)
    start, before = time.monotonic(), processor(resource.RUSAGE_SELF)
    kept = []
    for first in range(0, a.chunks * CONTEXT, CONTEXT):
        chunk = tokens[first:first + CONTEXT]
        if begins:
            chunk[0] = model.token_bos()
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
        batch.n_tokens = CONTEXT
        for place, token in enumerate(chunk):
            batch.token[place], batch.pos[place], batch.n_seq_id[place], batch.seq_id[place][0] = token, place, 1, 0
            batch.logits[place] = place >= CONTEXT // 2
        assert llama_cpp.llama_decode(context, batch) == 0
        logits = np.ctypeslib.as_array(llama_cpp.llama_get_logits(context), (CONTEXT // 2, model.n_vocab()))
        kept.append((chunk, logits[:-1].copy()))
    seconds = time.monotonic() - start, processor(resource.RUSAGE_SELF) - before
    llama_cpp.llama_batch_free(batch)
    losses = []
    for chunk, logits in kept:
        for row, token in zip(logits.astype(np.float64), chunk[CONTEXT // 2 + 1:]):
            losses.append(np.log(np.exp(row - row.max()).sum()) + row.max() - row[token])
    return *seconds, math.exp(np.mean(losses))


def main():
    a = parse()
    model = llama_cpp.Llama(str(a.model), n_ctx=CONTEXT, n_batch=CONTEXT, n_ubatch=CONTEXT, n_threads=a.threads, n_threads_batch=a.threads,
                            verbose=False)
    tokens = model.tokenize(a.text.read_bytes(), add_bos=True, special=False)
    assert len(tokens) >= a.chunks * CONTEXT, "a longer text"
    count = a.chunks * CONTEXT
    theirs(a, model, tokens)
    ratios = []
    for _ in range(a.pairs):
        mine, its = ours(a), theirs(a, model, tokens)
        ratios.append((its[0] / mine[0], its[1] / mine[1]))
        print(f"{a.threads} threads: {count / mine[0]:.0f} and llama.cpp {count / its[0]:.0f} tokens per second ({ratios[-1][0]:.2f}), of processor time "
              f"{count / mine[1]:.0f} and {count / its[1]:.0f} ({ratios[-1][1]:.2f}); perplexity {mine[2]:.4f} and {its[2]:.4f}", flush=True)
    print(f"median {statistics.median(r[0] for r in ratios):.2f}, of processor time {statistics.median(r[1] for r in ratios):.2f}")
    sys.exit(not abs(mine[2] / its[2] - 1) < 0.005)


main()
