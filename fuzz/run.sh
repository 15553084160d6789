#!/bin/sh
# Fuzzes every reader for SECONDS each (default 10), or only the TARGETs that are named:
#
#     fuzz/run.sh [SECONDS [TARGET...]]
#
# Works on the stable toolchain: the flags are those with which nightly's -Zsanitizer-coverage instruments. Needs a C++
# compiler for libFuzzer. A crash leaves its input in fuzz/artifacts/TARGET/ and a non-zero exit status.
set -eu
cd "$(dirname "$0")"
seconds=${1:-10}
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- gguf safetensors safetensors_index pickle imatrix_gguf imatrix_dat

# With an explicit target the flags reach neither build scripts nor procedural macros.
host=$(rustc -vV | sed -n 's/^host: //p')
RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
 -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing" \
    cargo build --release --target "$host"

fixtures=../formats/tests/fixtures
for target; do
    mkdir -p "corpus/$target" "artifacts/$target"
    case $target in
    gguf) cp "$fixtures"/typed.gguf "$fixtures"/aligned.gguf "$fixtures"/kept-*.gguf "corpus/$target/" ;;
    pickle)
        cp "$fixtures"/*.pt "corpus/$target/"
        # Their pickles alone; Python's own reader of archives takes them out.
        python3 -c 'import sys, zipfile, pathlib
for path in sys.argv[2:]:
    if zipfile.is_zipfile(path):
        archive = zipfile.ZipFile(path)
        name = next(n for n in archive.namelist() if n.endswith("/data.pkl"))
        pathlib.Path(sys.argv[1], pathlib.Path(path).stem + ".pkl").write_bytes(archive.read(name))' "corpus/$target" "$fixtures"/*.pt
        ;;
    imatrix_gguf) cp "$fixtures/imatrix.gguf" "corpus/$target/" ;;
    imatrix_dat) printf '\1\0\0\0\1\0\0\0b\4\0\0\0\2\0\0\0\0\0\0\100\0\0\200\77\7\0\0\0\4\0\0\0text' >"corpus/$target/one" ;;
    safetensors)
        printf '\210\0\0\0\0\0\0\0{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[],"data_offsets":[4,5]}}12345' \
            >"corpus/$target/two"
        ;;
    safetensors_index) printf '{"metadata":{"total_size":5},"weight_map":{"a":"1.safetensors","b":"2.safetensors"}}' >"corpus/$target/two" ;;
    esac
    echo "== $target, $seconds s"
    "target/$host/release/$target" "corpus/$target" -artifact_prefix="artifacts/$target/" -max_total_time="$seconds" \
        -max_len=8192 -timeout=10 -rss_limit_mb=512 -malloc_limit_mb=256 -print_final_stats=1 -verbosity=0
done
