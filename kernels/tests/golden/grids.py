#!/usr/bin/env python3
"""Makes grids.txt: digests of the grids in llama.cpp's source, one byte per value of a level.

    python3 grids.py LLAMA.CPP/ggml/src/ggml-common.h > grids.txt
"""
import hashlib, re, sys

source = open(sys.argv[1]).read()
for name in ["iq2xxs", "iq2xs", "iq2s", "iq3xxs", "iq3s", "iq1s"]:
    # The first of several forms of a table is that for the CPU.
    bits, points = re.search(rf"GGML_TABLE_BEGIN\(uint(\d+)_t, {name}_grid, \w+\)(.*?)GGML_TABLE_END", source, re.S).groups()
    values = [int(point, 16).to_bytes(int(bits) // 8, "little") for point in re.findall(r"0x[0-9a-f]+", points)]
    print(name, len(values), hashlib.sha256(b"".join(values)).hexdigest())
