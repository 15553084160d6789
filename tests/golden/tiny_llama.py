#!/usr/bin/env python3
"""Writes tiny-llama.json: SHA-256 and size of the files that llama.cpp makes of tests/fixtures/tiny-llama and its variants.

usage: tiny_llama.py ORACLE REFERENCE > tiny-llama.json
  ORACLE     folder with ggml.py, run with the Python that its setup.sh installs (quantizes as llama-quantize does)
  REFERENCE  folder with venv/ and llama.cpp/, as setup_reference.sh installs them (convert_hf_to_gguf.py)

Two things are done by hand. The converter knows byte-level BPE tokenizers by a hash over one published vocabulary each, so it
is told that this one is llama-bpe, which its structure says. ggml.py does not write the four quantize.imatrix.* keys; they
are added here as llama-quantize writes them, after all others.
"""
import hashlib
import json
import pathlib
import struct
import subprocess
import sys
import tempfile

ORACLE, REFERENCE = (pathlib.Path(p).absolute() for p in sys.argv[1:3])
FIXTURES = pathlib.Path(__file__).parent.absolute().parent / "fixtures"
sys.path.insert(0, str(ORACLE))
import ggml  # noqa: E402

TYPES = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M", "Q6_K"]
NEEDS_IMATRIX = ["Q2_K_S"]
CONVERT = """
import sys
sys.argv = sys.argv[1:]
sys.path.insert(0, sys.argv[0])
import convert_hf_to_gguf
from conversion.base import TextModel
TextModel.get_vocab_base_pre = lambda self, tokenizer: "llama-bpe"
convert_hf_to_gguf.main()
"""

# The same checkpoint as torch saves it: in two files, the tensors in the reverse order of their names.
PICKLE = """
import json, sys, pathlib, shutil, torch, safetensors.torch
source, folder = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.safetensors"))
tensors = safetensors.torch.load_file(source / "model.safetensors")
names = sorted(tensors, reverse=True)
index = {}
for shard, part in enumerate([names[:len(names) // 2], names[len(names) // 2:]], 1):
    file = f"pytorch_model-{shard:05d}-of-00002.bin"
    torch.save({name: tensors[name] for name in part}, folder / file)
    index |= dict.fromkeys(part, file)
(folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
"""


def checkpoint(folder, *options):
    subprocess.run([sys.executable, FIXTURES / "make_tiny_llama.py", folder, *options], check=True)
    return folder


def convert(folder, out, outtype):
    subprocess.run([REFERENCE / "venv/bin/python", "-c", CONVERT, REFERENCE / "llama.cpp", folder, "--outtype", outtype, "--outfile", out],
                   check=True, stdout=sys.stderr)
    return out


def skip(data, at, kind):
    """Offset after a metadata value of type `kind`."""
    size = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}.get(kind)
    if size:
        return at + size
    if kind == 8:
        return at + 8 + struct.unpack_from("<Q", data, at)[0]
    inner, count = struct.unpack_from("<IQ", data, at)
    at += 12
    for _ in range(count):
        at = skip(data, at, inner)
    return at


def with_imatrix_keys(data, dataset, entries, chunks):
    tensors, keys = struct.unpack_from("<QQ", data, 8)
    at = 24
    for _ in range(keys):
        at = skip(data, at, 8)
        at = skip(data, at + 4, struct.unpack_from("<I", data, at)[0])
    infos = at
    for _ in range(tensors):
        at = skip(data, at, 8)
        at += 4 + 8 * struct.unpack_from("<I", data, at)[0] + 4 + 8

    def text(value):
        return struct.pack("<Q", len(value)) + value.encode()

    new = b""
    for key, value in (("file", "imatrix.gguf"), ("dataset", dataset)):
        new += text("quantize.imatrix." + key) + struct.pack("<I", 8) + text(value)
    for key, value in (("entries_count", entries), ("chunks_count", chunks)):
        new += text("quantize.imatrix." + key) + struct.pack("<II", 4, value)
    head = data[:16] + struct.pack("<Q", keys + 4) + data[24:infos] + new + data[infos:at]
    return head + b"\0" * (-len(head) % 32) + data[at + -at % 32:]


def digest(data):
    return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def main():
    golden = {"plain": {}, "imatrix": {}}
    with tempfile.TemporaryDirectory() as tmp:
        tmp = pathlib.Path(tmp)
        out = tmp / "out.gguf"

        def quantized(source, name, **options):
            ggml.quantize_model(source, out, name, **options)
            return out.read_bytes()

        folder = FIXTURES / "tiny-llama"
        bf16 = convert(folder, tmp / "bf16.gguf", "bf16")
        golden["plain"]["BF16"] = digest(bf16.read_bytes())
        for outtype in ("F16", "F32"):
            golden["plain"][outtype] = digest(convert(folder, out, outtype.lower()).read_bytes())
        for name in TYPES:
            golden["plain"][name] = digest(quantized(bf16, name))
        for name in TYPES + NEEDS_IMATRIX:
            data = quantized(bf16, name, imatrix=str(FIXTURES / "tiny-imatrix/imatrix.gguf"))
            golden["imatrix"][name] = digest(with_imatrix_keys(data, "calibration/text.txt", 14, 3))

        golden["options"] = {
            "-t Q4_K_M --pure": digest(quantized(bf16, "Q4_K_M", pure=True)),
            "-t Q4_K_M --leave-output-tensor": digest(quantized(bf16, "Q4_K_M", leave_output=True)),
            "-t Q4_K_M --output-tensor-type Q8_0 --token-embedding-type Q5_0":
                digest(quantized(bf16, "Q4_K_M", output_type="q8_0", embedding_type="q5_0")),
            "-t Q4_K_M --tensor-type attn_v=Q8_0 --tensor-type blk\\.1\\.ffn=Q5_1":
                digest(quantized(bf16, "Q4_K_M", tensor_types=["attn_v=q8_0", "blk\\.1\\.ffn=q5_1"])),
        }

        q8_0 = tmp / "q8_0.gguf"
        q8_0.write_bytes(quantized(bf16, "Q8_0"))
        golden["gguf"] = {"-t " + name: digest(quantized(bf16, name)) for name in ("F32", "F16", "BF16")}
        golden["gguf"]["-t COPY"] = digest(quantized(bf16, "Q8_0", copy=True))
        golden["requantized"] = {"-t Q4_K_M --allow-requantize": digest(quantized(q8_0, "Q4_K_M"))}

        pickle = tmp / "pickle" / "tiny-llama"
        pickle.parent.mkdir()
        subprocess.run([REFERENCE / "venv/bin/python", "-c", PICKLE, folder, pickle], check=True)
        golden["pickle"] = {outtype: digest(convert(pickle, out, outtype.lower()).read_bytes()) for outtype in ("BF16", "F16", "F32")}
        golden["pickle"]["Q4_K_M"] = digest(quantized(convert(pickle, tmp / "pickle.gguf", "bf16"), "Q4_K_M"))

        golden["tied"], golden["f16"], golden["f32"] = {}, {}, {}
        (tmp / "variants").mkdir()
        for variant, options, outtype in (("tied", ["--tied"], "bf16"), ("f16", ["--dtype", "F16"], "f16"), ("f32", ["--dtype", "F32"], "f32")):
            (tmp / variant).mkdir()
            source = convert(checkpoint(tmp / variant / "tiny-llama", *options), tmp / f"{variant}.gguf", outtype)
            golden[variant][outtype.upper()] = digest(source.read_bytes())
            for name in ("Q4_K_M", "Q8_0"):
                golden[variant][name] = digest(quantized(source, name))
    print(json.dumps(golden, indent=1))


main()
