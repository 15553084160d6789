"""The checks of .ci/oracle: what the release binary writes against what llama.cpp writes.

usage: oracle.py ORACLE TARGET_DIR [CHECK...]

Every check prints `ok` or `FAILED` lines; the exit status is 1 if one failed. Several are processes of their own, as many at a time as
there are cores: most of them wait for one core much of the time. Checkpoints are made under TARGET_DIR/oracle and kept for the next run, what the
checks write is removed.
"""
import concurrent.futures
import fcntl
import hashlib
import importlib.util
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

ORACLE, TARGET = (pathlib.Path(p).absolute() for p in sys.argv[1:3])
QUANTIZE = TARGET / "release/quantize"
WORK = TARGET / "oracle"
MADE, OUT = WORK / "checkpoints", WORK / f"out-{os.getpid()}"
TESTS = pathlib.Path(__file__).absolute().parent.parent / "tests"
FIXTURES = TESTS / "fixtures"
GOLDEN = ORACLE / "golden"
sys.path.insert(0, str(ORACLE))
sys.path.append(str(TESTS / "golden"))

# Families whose tokenizer comes back whole too.
RESTORED = "llama2 codellama llama31 llama32_tied mistral mistral_nemo mixtral qwen25 qwen3 qwen3_moe starcoder2 gpt_bigcode deepseek_v3 llama4".split()
# Of these the stored weights are codes, which are decoded.
DECODED = ("deepseek_v3",)
# Layers of models that llama.cpp tells by their number: the tiny checkpoints of tests/golden/families have two.
LAYERS = {"deepseek_v2_lite": 27, "command_r_plus_new": 64}
# Tiny checkpoints that the converter takes and llama.cpp does not, and why.
NOT_LOADED = {"llama4_text": "without sliding windows llama.cpp has no temperature of attention and asserts that there is one",
              "smollm3_defaults": "llama.cpp reads no bias of the attention's output, which published models do not have either"}
WIDE, PLAIN = "SmolLM2-135M-Instruct-wide", "SmolLM2-135M-Instruct"

passed, failures = 0, []


def report(name, wrong=None):
    """Counts one check; `wrong` says what is wrong, if anything."""
    global passed
    if wrong:
        failures.append(name)
        print(f"FAILED  {name}: {wrong}", flush=True)
    else:
        passed += 1
        print(f"ok      {name}", flush=True)


# ---------------------------------------------------------------- running things

def run(*args, cwd=None, env=None):
    """Runs quantize; the error text if it failed, else None."""
    done = subprocess.run([QUANTIZE, *map(str, args)], cwd=cwd, env={**os.environ, **(env or {})}, capture_output=True, text=True)
    return f"exit status {done.returncode}: {done.stderr.strip()[-500:]}" if done.returncode else None


def digest(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def differs(path, want):
    """What distinguishes a file from a golden entry of SHA-256 and, in most, size, if anything."""
    if not path.exists():
        return "no file was written"
    size = path.stat().st_size
    if size != want.get("bytes", size):
        return f"{size} bytes instead of {want['bytes']}"
    return None if digest(path) == want["sha256"] else f"other bytes ({size} of them)"


def same(path, other):
    return differs(path, {"bytes": other.stat().st_size, "sha256": digest(other)})


def script(name, *args):
    subprocess.run([sys.executable, ORACLE / name, *map(str, args)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def once(path, make):
    """What `make` writes to `path`, made by one process while the others wait for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    done, lock = (path.parent / f".{path.name}.{kind}" for kind in ("done", "lock"))
    with open(lock, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(path, ignore_errors=True)
            make()
            done.touch()
    return path


def checkpoint(script_name, folder, *args):
    """A checkpoint in a folder of that name, made once."""
    path = MADE / folder
    action = ["make", *args, path] if script_name == "families.py" else [path, *args]
    return once(path, lambda: script(script_name, *action))


def smol(folder, *args):
    return checkpoint("make_smollm2.py", folder, *args)


def tiny(golden_file):
    """The tiny checkpoint that a golden file of tests/golden/families was made from, as deep as llama.cpp wants it, and its type."""
    spec = importlib.util.spec_from_file_location("tiny_families", TESTS / "golden/families.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = OUT / "tiny" / golden_file.stem
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    case = module.read(golden_file)
    last = case["config"].get("num_hidden_layers", 0) - 1
    for layer in range(last + 1, LAYERS.get(folder.name, 0)):
        case["config"]["num_hidden_layers"] = layer + 1
        for shard in case["shards"]:
            shard += [[name.replace(f".{last}.", f".{layer}.", 1), *rest] for name, *rest in shard if f"layers.{last}." in name]
    module.make(folder, case)
    return folder, case["outtype"]


def output(name):
    path = OUT / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    return path


def golden(name):
    return json.loads((GOLDEN / name).read_text())


# ---------------------------------------------------------------- checks

def files():
    """Whole files, for every type that has a digest."""
    for model, folder in ((WIDE, smol(WIDE, "--wide")), ("llama31", checkpoint("families.py", "llama31", "llama31"))):
        wanted = golden("files.json")[model]
        for kind, want in wanted.items():
            out = output("one.gguf")
            report(f"files {model} {kind}", run(folder, "-t", kind, "-o", out) or differs(out, want))
        # the same in one run, under the default names
        several = OUT / "several"
        error = run(folder, "-t", ",".join(wanted), "-o", f"{several}/")
        for kind, want in wanted.items():
            report(f"files {model} {kind} of several", error or differs(several / f"{model}-{kind}.gguf", want))
        shutil.rmtree(several, ignore_errors=True)


def gguf():
    """GGUF in: llama-quantize alone."""
    folder, wanted = smol(WIDE, "--wide"), golden("files.json")[WIDE]
    source = output(f"{WIDE}-BF16.gguf")
    error = run(folder, "-t", "BF16", "-o", source)
    for kind in ("Q4_K_M", "Q8_0", "Q5_1"):
        out = output("one.gguf")
        report(f"gguf {WIDE}-BF16.gguf {kind}", error or run(source, "-t", kind, "-o", out) or differs(out, wanted[kind]))


def imatrix():
    """With an importance matrix, in both its forms; and the forms themselves."""
    from families import describe
    for source, form in (("gguf", "gguf"), ("gguf", "dat"), ("dat", "dat")):
        out, want = output(f"matrix.{form}"), GOLDEN / f"imatrix.{form}"
        report(f"imatrix.{source} as .{form}", run("imatrix", GOLDEN / f"imatrix.{source}", "-o", out, "--force") or same(out, want))
    folder = smol(WIDE, "--wide")
    for kind, want in golden("files-imatrix.json")[WIDE].items():
        out, legacy = output("gguf.gguf"), output("dat.gguf")
        error = run(folder, "-t", kind, "--imatrix", "imatrix.gguf", "-o", out, cwd=GOLDEN)
        report(f"imatrix {kind}", error or differs(out, want))
        if kind.startswith("IQ"):
            # These are slow, and the matrix is read in the same way for all.
            continue
        error = error or run(folder, "-t", kind, "--imatrix", "imatrix.dat", "-o", legacy, cwd=GOLDEN)
        report(f"imatrix {kind} .dat", error or (describe(out)["tensors"] != describe(legacy)["tensors"] and "other tensors"))
    # Those without a digest, with a matrix of invented values.
    folder, matrix, source = FIXTURES / "tiny-llama", FIXTURES / "tiny-imatrix/imatrix.gguf", output("source.gguf")
    error = run(folder, "-t", "BF16", "-o", source)
    for kind in ("IQ1_M", "IQ2_S", "IQ3_XS", "Q2_K_S"):
        out, want = output("ours.gguf"), output("theirs.gguf")
        script("ggml.py", "model", source, want, kind, "--imatrix", matrix)
        wrong = error or run(folder, "-t", kind, "--imatrix", matrix, "-o", out)
        report(f"imatrix tiny-llama {kind}", wrong or (describe(out)["tensors"] != describe(want)["tensors"] and "other tensors"))


def families():
    """Metadata and tensors of each family's checkpoint in BF16."""
    for name in subprocess.run([sys.executable, ORACLE / "families.py", "list"], check=True, capture_output=True, text=True).stdout.split():
        out = output(f"{name}.gguf")
        error = run(checkpoint("families.py", name, name), "-t", "BF16", "-o", out)
        if not error:
            done = subprocess.run([sys.executable, ORACLE / "families.py", "check", name, out], capture_output=True, text=True)
            error = done.returncode and (done.stdout + done.stderr).strip()[-1500:]
        report(f"families {name}", error)


def quantized_families():
    """Files of every family with types of several kinds: as llama.cpp's quantizer makes them of our 16-bit file, and loaded."""
    listed = subprocess.run([sys.executable, ORACLE / "families.py", "list"], check=True, capture_output=True, text=True).stdout.split()
    kinds = ("Q4_K_M", "Q2_K", "Q5_K_S")
    folders = [(checkpoint("families.py", name, name), "bf16", kinds) for name in listed]
    folders += [(*tiny(path), kinds[:1]) for path in sorted((TESTS / "golden/families").glob("*.json"))]
    for folder, plain, kinds in folders:
        name = folder.relative_to(MADE if folder.is_relative_to(MADE) else OUT)
        source = output("source.gguf")
        if error := run(folder, "-t", plain, "-o", source):
            report(f"quantized_families {name}", error)
            continue
        for kind in kinds:
            ours, theirs = output("ours.gguf"), output("theirs.gguf")
            try:
                script("ggml.py", "model", source, theirs, kind)
            except subprocess.CalledProcessError:
                report(f"quantized_families {name} {kind}", "llama.cpp's quantizer does not take it")
                continue
            # gpt-oss comes with experts in MXFP4
            report(f"quantized_families {name} {kind}", run(folder, "-t", kind, "--allow-requantize", "-o", ours) or same(ours, theirs))
        if folder.name not in NOT_LOADED:
            report(f"quantized_families {name} loads", generate(ours, "The capital", 4)[1])


def back():
    """From a checkpoint to GGUF and back: the restored checkpoint makes the same file, and holds the same weights."""
    folders = [checkpoint("families.py", name, name) for name in RESTORED] + [smol(WIDE, "--wide")]
    for folder in folders:
        there = output(f"back/{folder.name}.gguf")
        # Quantized, because the order of a 16-bit file depends on how the checkpoint is divided into shards.
        first, again = output(f"back/{folder.name}-first.gguf"), output(f"back/{folder.name}-again.gguf")
        restored = OUT / "back" / folder.name
        shutil.rmtree(restored, ignore_errors=True)
        error = run(folder, "-t", "BF16", "-o", there) or run(there, "-t", "safetensors-bf16", "-o", restored)
        error = error or run(folder, "-t", "Q8_0", "-o", first) or run(restored, "-t", "Q8_0", "-o", again) or same(again, first)
        differ = folder.name not in DECODED and not error and weights(restored) != weights(folder)
        report(f"back {folder.name}", error or (differ and "other weights"))


def weights(folder):
    """Digest of every tensor of a checkpoint."""
    tensors = {}
    for path in folder.glob("*.safetensors"):
        data = path.read_bytes()
        start = 8 + int.from_bytes(data[:8], "little")
        for name, row in json.loads(data[8:start]).items():
            if name != "__metadata__":
                begin, end = row["data_offsets"]
                # of models that also see, the part that writes comes back
                tensors[name.removeprefix("language_model.")] = (row["dtype"], tuple(row["shape"]), hashlib.sha256(data[start + begin:start + end]).hexdigest())
    return tensors


def vocabularies():
    """Published vocabularies, of which tests/golden/published.json has digests."""
    sys.path.append(str(FIXTURES.parent / "golden"))
    import families as oracle_families
    import published
    packages = WORK / "packages"
    packages.mkdir(parents=True, exist_ok=True)
    for name, want in json.loads((FIXTURES.parent / "golden/published.json").read_text()).items():
        folder, out = OUT / "vocabulary/model", output("vocabulary.gguf")
        published.make(name, folder, oracle_families, packages)
        kind, rows = published.CASES[name][0], published.CASES[name][3]
        done = subprocess.run([TARGET / "release/examples/vocabulary", folder, kind, str(rows), out], capture_output=True, text=True)
        if done.returncode:
            report(f"vocabularies {name}", done.stderr.strip()[-500:])
            continue
        got = json.loads(json.dumps(published.describe(out)))
        wrong = [f"{key}: want {want['metadata'].get(key)}, got {got.get(key)}" for key in {**want["metadata"], **got} if want["metadata"].get(key) != got.get(key)]
        report(f"vocabularies {name}", "; ".join(wrong))


def quantizer():
    """Against llama.cpp's quantizer run on our own 16- or 32-bit file: rows of 576, other source types, options."""
    import ggml  # noqa: F401  (its presence is what is checked here; it runs as a program below)
    plain, options = smol(PLAIN), FIXTURES / "tiny-llama"
    kinds = "Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K_S Q3_K_M Q3_K_L Q4_K_S Q4_K_M Q5_K_S Q5_K_M Q6_K IQ4_XS TQ2_0 Q2_0 MXFP4_MOE"
    cases = [(plain, "BF16", kind, [], []) for kind in kinds.split()]
    cases += [(smol(f"{kind}/{WIDE}", "--wide", "--dtype", kind.lower()), kind, q, [], [])
              for kind in ("F16", "F32") for q in ("Q4_K_M", "Q8_0", "Q5_0", "Q3_K_M")]
    cases += [(options, "BF16", q, ours, theirs) for q, ours, theirs in (
        ("Q4_K_M", ["--pure"], ["--pure"]), ("Q3_K_M", ["--pure"], ["--pure"]),
        ("Q5_K_S", ["--leave-output-tensor"], ["--leave-output"]),
        ("Q2_K", ["--output-tensor-type", "Q5_1", "--token-embedding-type", "Q3_K"], ["--output-type", "q5_1", "--embedding-type", "q3_K"]),
        ("Q6_K", ["--tensor-type", "attn_v=Q8_0", "--tensor-type", r"blk\.1\.ffn=Q5_0"], ["--tensor-type", "attn_v=q8_0", "--tensor-type", r"blk\.1\.ffn=q5_0"]))]
    sources = {}
    for folder, kind, q, ours, theirs in cases:
        name = f"quantizer {folder.relative_to(MADE) if folder.is_relative_to(MADE) else folder.name} {kind} {' '.join([q, *ours])}"
        if folder not in sources:
            sources[folder] = output(f"{kind}-{folder.name}.gguf")
            if error := run(folder, "-t", kind, "-o", sources[folder]):
                report(name, error)
                continue
        out, want = output("ours.gguf"), output("theirs.gguf")
        script("ggml.py", "model", sources[folder], want, q, *theirs)
        report(name, run(folder, "-t", q, "-o", out, *ours) or same(out, want))


def independence():
    """The same bytes whatever the CPU level, the threads and the size of the chunks."""
    folder, wanted = smol(WIDE, "--wide"), golden("files.json")[WIDE]
    flags = pathlib.Path("/proc/cpuinfo").read_text().split()
    levels = ["scalar"] + ["avx2"] * ("avx2" in flags) + ["avx512"] * ("avx512f" in flags and "avx512bw" in flags)
    ways = [(f"QUANTIZE_SIMD={level}", {"QUANTIZE_SIMD": level}, []) for level in levels]
    ways += [(f"--threads {n}", {}, ["--threads", n]) for n in (1, 2, 5)]
    ways += [(f"--max-memory {size}", {}, ["--max-memory", size]) for size in ("32MiB", "100MB")]
    kinds = ["Q4_K_M", "Q3_K_M", "Q2_K", "Q5_K_M", "Q6_K", "Q8_0", "Q4_0", "Q5_1"]
    for way, env, args in ways:
        several = OUT / "several"
        error = run(folder, "-t", ",".join(kinds), "-o", f"{several}/", *args, env=env)
        for kind in kinds:
            report(f"independence {way} {kind}", error or differs(several / f"{WIDE}-{kind}.gguf", wanted[kind]))
        shutil.rmtree(several, ignore_errors=True)


def schemes():
    """Every quantized safetensors format of the fixtures decodes to its truth, and its exact blocks are exact to ggml."""
    import ggml
    import schemes as fixtures
    dequantize = ggml.Ggml().dequantize
    decode = TARGET / "release/examples/decode"
    subprocess.run(["cargo", "build", "--release", "--quiet", "--example", "decode"], check=True)
    for case in fixtures.cases(ORACLE / "schemes"):
        folder = OUT / "case"
        shutil.rmtree(folder, ignore_errors=True)
        case.write(folder)
        done = subprocess.run([decode, folder, folder / "decoded"], capture_output=True, text=True)
        wrong = done.stderr.strip()[-500:] if done.returncode else case.check(fixtures.load(folder / "decoded"), dequantize)
        report(f"schemes {case.label}", wrong)


def written():
    """What the fixtures' packages write is written again, bit for bit."""
    import schemes as fixtures
    import written as cases
    for case in cases.cases(ORACLE / "schemes"):
        folder = OUT / "case"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "config.json").write_text('{"model_type": "llama"}')
        fixtures.save(folder / "model.safetensors", {f"{cases.MODULE}.weight": case.source})
        wrong = run(folder, *case.options, "--search", "absmax", "-o", folder / "out")
        if not wrong:
            found = fixtures.load(folder / "out/model.safetensors")
            wrong = ", ".join(name for name, tensor in case.expected.items() if not tensor.is_same(found.get(f"{cases.MODULE}.{name}")))
        report(f"written {case.label}", wrong)


def general(path):
    """general.* of a GGUF after general.type, without what is not derived from card, name and size."""
    from gguf import GGUFReader
    fields = GGUFReader(path).fields
    skipped = ("general.architecture", "general.type", "general.file_type", "general.quantization_version")
    return [[k, f.contents()] for k, f in fields.items() if k.startswith("general.") and k not in skipped]


def names():
    """general.* for the folder names and cards of golden/names.json, against gguf-py for the tiny checkpoint's size."""
    import logging
    import gguf as gguf_py
    logging.disable(logging.CRITICAL)
    data = golden("names.json")
    for case in data["keys"]:
        folder_name, card = case.split(" | ")
        folder = OUT / "names" / folder_name
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(FIXTURES / "tiny-llama", folder)
        (folder / "README.md").unlink()
        if card in data["cards"]:
            (folder / "README.md").write_text(data["cards"][card])
        out, want = output("names.gguf"), output("want.gguf")
        error = run(folder, "-t", "Q8_0", "-o", out)
        if not error:
            weights = sum(int(t.n_elements) for t in gguf_py.GGUFReader(out).tensors)
            metadata = gguf_py.Metadata.load(None, folder, None, weights)
            metadata.size_label = metadata.size_label or gguf_py.size_label(weights, weights, 0, 0)
            writer = gguf_py.GGUFWriter(want, "llama")
            metadata.set_gguf_meta_model(writer)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.close()
            error = general(out) != general(want) and f"want {general(want)}, got {general(out)}"
        report(f"names {case}", error)
    shutil.rmtree(OUT / "names", ignore_errors=True)


def generate(path, prompt, tokens):
    """What llama.cpp makes of a prompt, and what is wrong if it does not."""
    program = """
import sys, xllamacpp as x
path, prompt, tokens = sys.argv[1], sys.argv[2], int(sys.argv[3])
p = x.CommonParams(); p.model.path = path; p.n_predict = tokens; p.use_jinja = False; p.n_ctx = 512; p.cpuparams.n_threads = 2; p.sampling.temp = 0.0
done = x.Server(p).handle_completions({"prompt": prompt, "n_predict": tokens, "temperature": 0.0, "top_k": 1})
print("text:", repr(done["choices"][0]["text"]))
"""
    done = subprocess.run([sys.executable, "-c", program, path, prompt, str(tokens)], capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("text: ")]
    return (lines[0], None) if lines else (None, done.stderr.strip()[-500:] or "no text")


def text():
    """llama.cpp loads the files and generates something."""
    for folder, kind in ((smol(WIDE, "--wide"), "Q4_K_M"), (smol(PLAIN), "Q8_0"), (smol(PLAIN), "Q4_K_M"), (FIXTURES / "tiny-llama", "Q4_K_M")):
        out = output("text.gguf")
        error = run(folder, "-t", kind, "-o", out)
        if not error:
            generated, error = generate(out, "The capital of France is", 20)
            error = error or (generated == "text: ''" and "no text")
            print("        ", generated)
        report(f"text {folder.name} {kind}", error)


def rounding():
    """llama.cpp loads what calibrated rounding writes, and generates something. The text is this project's own."""
    folder, kinds, out = smol(WIDE, "--wide"), ("Q3_K_M", "Q2_K", "IQ4_XS", "Q5_1"), OUT / "rounding"
    error = run(folder, "-t", ",".join(kinds), "--method", "gptq", "--calibrate", TESTS.parent / "README.md", "--chunks", 8, "-o", f"{out}/")
    for kind in kinds:
        generated, wrong = (None, error) if error else generate(out / f"{WIDE}-{kind}.gguf", "The capital of France is", 20)
        wrong = wrong or (generated == "text: ''" and "no text")
        print("        ", generated)
        report(f"rounding {kind}", wrong)


def awq():
    """Folded scales lower the divergence of int4 by a quarter and more on text like the calibration's and on other text; llama.cpp loads a folded file."""
    folder, text, out = smol(f"off-grid/{WIDE}", "--wide", "--off-grid"), texts(), OUT / "awq"
    scaled = ["--method", "awq", "--calibrate", text / "calibrate.txt", "--chunks", 8]
    error = run(folder, "--int4", "-o", out / "plain", "-q") or run(folder, "-t", "w4a16,Q4_0", *scaled, "-o", f"{out}/", "-q")
    for name in ("evaluate", "other"):
        divergences = []
        for model in () if error else (out / "plain", out / f"{WIDE}-w4a16"):
            found, error = evaluated(model, "--against", folder, "--text", text / f"{name}.txt", "--chunks", 2)
            divergences.append(found and found["divergence"]["mean_kl"])
        wrong = error or divergences[1] > 0.75 * divergences[0] and "less than a quarter"
        print(f"         awq on {name}.txt: mean KL divergence {divergences}")
        report(f"awq {name}", wrong)
    generated, wrong = (None, error) if error else generate(out / f"{WIDE}-Q4_0.gguf", "The capital of France is", 20)
    print("        ", generated)
    report("awq Q4_0", wrong or (generated == "text: ''" and "no text"))


def peak(*args):
    """Runs quantize; (error, peak of anonymous memory in bytes, seconds)."""
    start, most = time.monotonic(), 0
    process = subprocess.Popen([QUANTIZE, *map(str, args)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while process.poll() is None:
        try:
            status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
            most = max([most] + [int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("RssAnon:")])
        except OSError:
            pass
        time.sleep(0.02)
    error = f"exit status {process.returncode}: {process.stderr.read()[-500:]}" if process.returncode else None
    return error, most, time.monotonic() - start


def memory():
    """A 16 GB checkpoint in bounded memory; also the golden name of a model of that size."""
    # Sparse files read as zeros, which quantize fast and are what this measures: buffers, not arithmetic.
    name = "Meta-Llama-3.1-8B-Instruct"
    folder = checkpoint("make_large.py", name, "--shape", "8b", "--sparse", "--shards", "4")
    data = golden("names.json")
    (folder / "README.md").write_text(data["cards"]["full"])
    for limit, args in ((1228, []), (356, ["--max-memory", "256MiB"])):
        out = output("8b.gguf")
        error, most, seconds = peak(folder, "-t", "Q4_K_M", "-o", out, *args)
        if not error and most >= limit << 20:
            error = f"{most / 2**20:.0f} MiB of anonymous memory, not under {limit}"
        report(f"memory 8b {' '.join(args)} ({most / 2**20:.0f} MiB, {seconds:.0f} s)", error)
        if args == [] and not error:
            got, want = general(out), data["keys"][f"{name} | full"]
            report(f"names {name} | full, 8 billion weights", got != want and f"want {want}, got {got}")
        out.unlink(missing_ok=True)


def texts():
    """The oracle's texts, fetched once."""
    command = [ORACLE / "make_text.sh", WORK / "texts"]
    return once(WORK / "texts", lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))


def evaluated(*args):
    """The document of `quantize evaluate --json`, or the error text."""
    done = subprocess.run([QUANTIZE, "evaluate", *map(str, args), "--json", "-q"], capture_output=True, text=True)
    return (None, done.stderr.strip()[-500:]) if done.returncode else (json.loads(done.stdout), None)


def off(name, found, want, percent):
    """What is wrong if a figure is further off than so many per cent."""
    difference = 100 * (found / want - 1)
    return f"{name} {found:.6g} instead of {want:.6g} ({difference:+.2f} %)" if abs(difference) > percent else None


def rows(chosen):
    """Rows of golden/evaluate.json: perplexity within 0.2 %, mean KL divergence within 3 % of llama-perplexity's."""
    data, text = golden("evaluate.json"), texts()
    model, base = smol(f"off-grid/{WIDE}", "--wide", "--off-grid"), output("base.gguf")
    matrix = output("matrix.gguf")
    error = run(model, "-t", "BF16", "-o", base)
    for row in [row for row in data["rows"] if chosen(row)]:
        name, out = f"evaluation {row['type']}{' with importance' if row['imatrix'] else ''}", output("row.gguf")
        if row["imatrix"] and not matrix.exists() and not error:
            error = run("calibrate", base, "--text", text / "calibrate.txt", "--chunks", 40, "-o", matrix, "-q")
        error = error or run(base, "-t", row["type"], "-o", out, "-q", *(["--imatrix", matrix] if row["imatrix"] else []))
        if not error:
            found, error = evaluated(out, "--against", base, "--text", text / "evaluate.txt", "--chunks", 12)
        if error:
            report(name, error)
            return
        divergence = found["divergence"]
        print(f"         {row['type']}: perplexity {found['perplexity']['value']:.4f}, mean KL divergence {divergence['mean_kl']:.6f}, {found['seconds']:.0f} s")
        wrong = [off("the base's perplexity", divergence["base_perplexity"]["value"], data["bf16_perplexity"][0], 0.2),
                 off("perplexity", found["perplexity"]["value"], row["perplexity"], 0.2), off("divergence", divergence["mean_kl"], row["mean_kl"], 3)]
        report(name, "; ".join(filter(None, wrong)))


def evaluation():
    """The row with the least noise of its own; of the others llama.cpp's own builds differ by more (see README)."""
    rows(lambda row: row["type"] == "Q8_0")


def evaluation_rows():
    """All of them, ten times as long."""
    rows(lambda row: True)


def evaluation_memory():
    """A model of four times the memory limit is calibrated and evaluated."""
    folder, text = checkpoint("make_large.py", "large-1b", "--shape", "1b", "--sparse", "--shards", "2"), texts() / "evaluate.txt"
    common = ["--text", text, "-c", 128, "--chunks", 4, "--max-memory", "512MiB", "-q"]
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    for args in (["calibrate", folder, "-o", output("large.gguf")], ["evaluate", folder, "--against", folder]):
        error, most, seconds = peak(*args, *common)
        if not error and (most >= 612 << 20 or size < 4 * 512 << 20):
            error = f"{most / 2**20:.0f} MiB of anonymous memory for a model of {size / 2**20:.0f}"
        report(f"evaluation memory {args[0]} ({most / 2**20:.0f} MiB, {seconds:.0f} s)", error)


def forecast(folder, kinds, *options):
    """Bytes of the file of each type as a dry run forecasts them, and the error text if there was one."""
    done = subprocess.run([QUANTIZE, folder, "-t", ",".join(kinds), "--dry-run", "--json", *options], capture_output=True, text=True, cwd=GOLDEN)
    if done.returncode:
        return None, done.stderr.strip()[-500:]
    return {shape["type"]: shape["bytes"] for shape in json.loads(done.stdout)["outputs"]}, None


def calibrated(folder, kind, method):
    """What is wrong with the plan of calibrated rounding of 70 billion weights: 8 GiB are enough, so is what is asked for where less is refused, and no less."""
    def planned(limit):
        command = [QUANTIZE, folder, "-t", kind, "--method", method, "--calibrate", "--dry-run", "--json", "--max-memory", str(limit)]
        return subprocess.run(command, capture_output=True, text=True, cwd=WORK)
    done, refused = planned("8GiB"), planned("3GiB")
    asked = re.search(r"28672 inputs .* give at least (\d+)", refused.stderr)
    if done.returncode or not refused.returncode or not asked:
        return f"with 8 GiB {done.stderr.strip()[-300:]}, with 3 {refused.stderr.strip()[-300:]}"
    needs = [json.loads(done.stdout)["preflight"].get(part) for part in ("rounding", "scaling")]
    # the moment of 28672 columns, and somewhat more
    if not any(needs) or any(need and (need["moments"] < 28672**2 * 4 or need["least_memory"] > int(asked[1])) for need in needs) or int(asked[1]) > 3.5e9:
        return f"{needs}, asked for {asked[1]}"
    enough = planned(asked[1])
    if enough.returncode:
        return f"{asked[1]} are asked for, and {enough.stderr.strip()[-300:]}"
    return None if planned(int(asked[1]) - 1).returncode else f"less than {asked[1]} is enough"


def plan():
    """The plan of 70 billion weights, printed as JSON in under 10 seconds."""
    folder = checkpoint("make_large.py", "llama-70b", "--shape", "70b", "--sparse", "--shards", "16")
    start = time.monotonic()
    done = subprocess.run([QUANTIZE, folder, "-t", "Q4_K_M", "--dry-run", "--json"], capture_output=True, text=True, cwd=WORK)
    seconds = time.monotonic() - start
    error = done.returncode and done.stderr.strip()[-500:]
    if not error:
        shape = json.loads(done.stdout)["outputs"][0]
        if seconds >= 10 or len(shape["tensors"]) != 724 or not 40e9 < shape["bytes"] < 45e9:
            error = f"{seconds:.1f} s, {len(shape['tensors'])} tensors, {shape['bytes']} bytes"
    report(f"plan 70b ({seconds:.1f} s)", error)
    for kind, method in (("Q4_K_M", "gptq"), ("w4a16", "gptq"), ("w4a16", "awq"), ("w4a16", "awq,gptq")):
        report(f"plan 70b {kind} {method}", calibrated(folder, kind, method))
    # All types in one run, also those that need an importance matrix: of those of the goldens the whole size is known.
    kinds = [*golden("files.json")[WIDE], *(kind for kind in golden("files-imatrix.json")[WIDE] if kind not in golden("files.json")[WIDE])]
    outputs, error = forecast(folder, kinds)
    report("plan 70b, all types", error or (len(outputs) != len(kinds) or min(outputs.values()) < 70e9 / 8) and f"{outputs}")
    for file, options in (("files.json", []), ("files-imatrix.json", ["--imatrix", "imatrix.gguf"])):
        wanted = {kind: want["bytes"] for kind, want in golden(file)[WIDE].items() if "bytes" in want}
        outputs, error = forecast(smol(WIDE, "--wide"), wanted, *options)
        wrong = {kind: (bytes, wanted[kind]) for kind, bytes in (outputs or {}).items() if bytes != wanted[kind]}
        report(f"plan {WIDE}, sizes of {file}", error or wrong and f"{wrong}")


# Those that take longest come first, so that none of them is left for the end.
CHECKS = (quantized_families, vocabularies, families, imatrix, files, quantizer, memory, schemes, evaluation, evaluation_memory, gguf, back, written, independence, names, text, rounding, awq, plan)
# Only when they are named.
BY_HAND = (evaluation_rows,)


def one(check):
    """Runs a check here."""
    start = time.monotonic()
    OUT.mkdir(parents=True)
    try:
        check()
    finally:
        shutil.rmtree(OUT, ignore_errors=True)
    print(f"        {check.__name__}: {time.monotonic() - start:.0f} s", flush=True)


def apart(check):
    """Runs a check in a process of its own, and prints what it said at its end."""
    global passed
    done = subprocess.run([sys.executable, __file__, ORACLE, TARGET, "--one", check.__name__], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    said, _, end = done.stdout.rpartition("oracle: ")
    counted = re.match(r"(\d+) passed, (\d+) failed", end)
    print(said or done.stdout, end="", flush=True)
    if counted and bool(int(counted[2])) == bool(done.returncode):
        passed += int(counted[1])
        failures.extend(name.strip() for name in end.splitlines()[1:])
    else:
        report(check.__name__, f"ended with status {done.returncode}")


def main():
    names = sys.argv[3:]
    if names[:1] == ["--one"]:
        (chosen,) = [check for check in CHECKS + BY_HAND if check.__name__ == names[1]]
        one(chosen)
    else:
        chosen = [c for c in CHECKS if not names or any(c.__name__.startswith(a) for a in names)]
        chosen += [c for c in BY_HAND if c.__name__ in names]
        if not chosen:
            sys.exit(f"no such check; there are: {' '.join(c.__name__ for c in CHECKS + BY_HAND)}")
        WORK.mkdir(parents=True, exist_ok=True)
        for left in WORK.glob("out*"):
            shutil.rmtree(left, ignore_errors=True)
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(apart, chosen))
    print(f"oracle: {passed} passed, {len(failures)} failed")
    print("".join(f"  {name}\n" for name in failures), end="")
    sys.exit(bool(failures))


main()
