#!/bin/sh
# Writes tests/profiles/logs again. Run it from this folder, with the pinned nvcc as $1, when that pin changes.
set -eu
compile() {
  "$1" -O3 -std=c++17 -lineinfo -cubin -Xptxas -v,-warn-spills,-warn-lmem-usage \
    -gencode "arch=compute_${3#sm_},code=$3" -o /dev/null "$2.cu" 2>"../logs/$2_$3.txt"
}
for architecture in sm_80 sm_86 sm_90a; do compile "$1" warnings "$architecture"; done
compile "$1" hopper sm_90a
