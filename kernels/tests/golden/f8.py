#!/usr/bin/env python3
"""Makes f8.txt: the value of every code of the 8-bit float types, as PyTorch converts them to float32.

    python3 f8.py ORACLE/schemes/fp8_tables.safetensors > f8.txt

Lines of f8.txt: a type, then the bits of its 256 values in hexadecimal.
"""
import sys
from safetensors.numpy import load_file

tables = load_file(sys.argv[1])
assert (tables["e4m3fn_bits"] == range(256)).all()
for dtype, name in ("F8_E4M3", "e4m3fn_value"), ("F8_E5M2", "e5m2_value"), ("F8_E8M0", "e8m0_value"):
    print(dtype, "".join(f"{bits:08x}" for bits in tables[name].view("<u4")))
