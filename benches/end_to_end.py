"""Whole runs of the release binary against llama.cpp's quantizer: time, memory, and whether the files are equal.

usage: $ORACLE_HOME/venv/bin/python benches/end_to_end.py ORACLE FOLDER [--types T,T...] [--pairs N] [--threads N] [--shm]

ORACLE is the folder of the reference's scripts. In FOLDER, which should lie on a disk, the input is made once: a BF16 GGUF of
1.1 billion weights. Both programs get the input in the page cache, run in turns, and their outputs are brought to the disk within
the time that is measured; the ratio is the median over the pairs. --shm repeats it with the outputs in /dev/shm. Afterwards the
types together in one run against each alone. Exit status 1 if a file differs.
"""
import argparse
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import time

QUANTIZE = pathlib.Path(__file__).resolve().parent.parent / "target/release/quantize"


def parse():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("oracle", type=pathlib.Path)
    p.add_argument("folder", type=pathlib.Path)
    p.add_argument("--types", default="Q4_K_M,Q6_K,Q8_0,Q4_0")
    p.add_argument("--pairs", type=int, default=5)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--shm", action="store_true")
    return p.parse_args()


def source(oracle, folder):
    """The input, made if it is not there."""
    model = folder / "llama-1b"
    gguf = folder / "llama-1b-BF16.gguf"
    if not (model / "model.safetensors").exists():
        subprocess.run([sys.executable, oracle / "make_large.py", model, "--shape", "1b"], check=True, stdout=subprocess.DEVNULL)
    if not gguf.exists():
        subprocess.run([QUANTIZE, model, "-t", "BF16", "-o", gguf, "-q"], check=True)
    return gguf


def sync(path):
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def timed(command, outputs):
    """Seconds on the clock and of the processors until the outputs are on the disk."""
    for path in outputs:
        path.unlink(missing_ok=True)
    # What an earlier run left to write is not this one's.
    os.sync()
    start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for path in outputs:
        sync(path)
    seconds, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def pairs(a, gguf, out):
    """Prints a line per type; the medians of our times, and whether all files are equal."""
    equal, alone = True, {}
    for kind in a.types.split(","):
        ours, theirs = out / "ours.gguf", out / "theirs.gguf"
        our_command = [QUANTIZE, gguf, "-t", kind, "-o", ours, "--force", "-q", "--threads", str(a.threads)]
        their_command = [sys.executable, a.oracle / "ggml.py", "model", gguf, theirs, kind, "--threads", str(a.threads)]
        times = []
        for _ in range(a.pairs):
            times.append((*timed(our_command, [ours]), *timed(their_command, [theirs])))
        same = ours.stat().st_size == theirs.stat().st_size and subprocess.run(["cmp", "-s", ours, theirs]).returncode == 0
        equal &= same
        wall = statistics.median(t[2] / t[0] for t in times)
        cpu = statistics.median(t[3] / t[1] for t in times)
        mine, its = (statistics.median(t[i] for t in times) for i in (0, 2))
        alone[kind] = mine
        spread = " ".join(f"{t[0]:.1f}/{t[2]:.1f}" for t in times)
        print(f"{str(out):24} {kind:8} {mine:6.2f} s {its:6.2f} s  {wall:5.1f}x  processors {cpu:5.1f}x  {'equal' if same else 'DIFFER'}  [{spread}]", flush=True)
        for path in (ours, theirs):
            path.unlink()
    return equal, alone


def together(a, gguf, out):
    """All types in one run against the runs of each, in turns."""
    kinds = a.types.split(",")
    name = gguf.name.removesuffix("-BF16.gguf")
    outputs = [out / "all" / f"{name}-{kind}.gguf" for kind in kinds]
    common = ["--force", "-q", "--threads", str(a.threads)]
    ratios = []
    for _ in range(a.pairs):
        one = timed([QUANTIZE, gguf, "-t", a.types, "-o", f"{out}/all/", *common], outputs)[0]
        each = sum(timed([QUANTIZE, gguf, "-t", kind, "-o", path, *common], [path])[0] for kind, path in zip(kinds, outputs))
        ratios.append((one / each, one, each))
    ratio, one, each = sorted(ratios)[len(ratios) // 2]
    print(f"{str(out):24} all in one run {one:.2f} s, one after the other {each:.2f} s: {ratio:.2f}", flush=True)
    for path in outputs:
        path.unlink()


def main():
    a = parse()
    a.folder.mkdir(parents=True, exist_ok=True)
    gguf = source(a.oracle, a.folder)
    print(f"{'output on':24} {'type':8} {'ours':>8} {'ggml':>8}  ratio", flush=True)
    equal = True
    for out in [a.folder / "out"] + [pathlib.Path("/dev/shm/weightmill")] * a.shm:
        out.mkdir(parents=True, exist_ok=True)
        gguf.read_bytes()
        equal &= pairs(a, gguf, out)[0]
        together(a, gguf, out)
    sys.exit(not equal)


main()
