#!/usr/bin/env bash
# On a machine with an NVIDIA GPU: builds the core and the CUDA kernels, checks them against float64, with
# compute-sanitizer too, measures, and writes JSON. On an H100 or H200 the wgmma kernel, which the library does not
# choose by itself yet, is checked and measured as well; "wgmma wins in ..." says how it compares.
#
#   benchmarks/gpu.sh [FOLDER]      FOLDER: for the JSON and the logs, benchmarks/results where none is given
#
# Needs nvcc, CMake, pybind11 and a Python with PyTorch (CUDA), NumPy and pytest. Installs nothing: what it builds
# lies in a temporary folder. G4V_CUDA_ARCHITECTURES: for other GPUs than this one ("native").
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

results=$(mkdir -p "${1:-benchmarks/results}" && cd "${1:-benchmarks/results}" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

nvidia-smi --query-gpu=name,driver_version --format=csv,noheader || {
  echo "gpu.sh: no NVIDIA GPU here" >&2
  exit 1
}
for module in torch numpy pytest pybind11; do
  python3 -c "import $module" || {
    echo "gpu.sh: python3 has no $module: install it" >&2
    exit 1
  }
done

echo "== build"
start=$SECONDS
cmake -S . -B "$work/build" -DCMAKE_BUILD_TYPE=Release -DG4V_BUILD_PYTHON=ON -DG4V_BUILD_LIBRARY=OFF -DG4V_CUDA=ON \
  -DG4V_CUDA_ARCHITECTURES="${G4V_CUDA_ARCHITECTURES:-native}" -DPython_EXECUTABLE="$(command -v python3)" \
  -Dpybind11_DIR="$(python3 -c 'import pybind11; print(pybind11.get_cmake_dir())')" >"$results/gpu-build.log"
cmake --build "$work/build" --parallel "$(nproc)" >>"$results/gpu-build.log" 2>&1 || {
  tail -n 40 "$results/gpu-build.log" >&2
  exit 1
}
echo "built in $((SECONDS - start)) s"
cp "$work/build/cuda_resources.json" "$results/gpu-cuda-resources.json"

# The package as an installation has it.
mkdir "$work/site"
cp -r python/g4v "$work/site/g4v"
cp -r export "$work/site/g4v/export"
find "$work/build" \( -name '_core*.so' -o -name 'libg4v_cuda.so' \) -exec cp {} "$work/site/g4v/" \;
export PYTHONPATH="$work/site"

echo "== check"
python3 -m pytest tests/python/test_ops.py tests/python/test_cuda_kernels.py -q -rs -p no:cacheprovider |
  tee "$results/gpu-tests.log"
if command -v compute-sanitizer >/dev/null; then
  for tool in memcheck racecheck initcheck synccheck; do
    echo "-- compute-sanitizer $tool"
    compute-sanitizer --tool "$tool" --error-exitcode 9 python3 -m pytest tests/python/test_cuda_kernels.py -q \
      -p no:cacheprovider -k "types or lengths" >"$results/gpu-$tool.log" 2>&1 || {
      tail -n 40 "$results/gpu-$tool.log" >&2
      exit 1
    }
    tail -n 2 "$results/gpu-$tool.log"
  done
else
  echo "compute-sanitizer was not found: not run"
fi

echo "== measure"
python3 benchmarks/abstractor_gpu.py --out "$results/abstractor-gpu.json"
if python3 -c 'import onnxruntime, sys; sys.exit("CUDAExecutionProvider" not in onnxruntime.get_available_providers())'
then
  python3 -m pytest tests/python/test_cuda_graphs.py -q -rs -p no:cacheprovider | tee "$results/gpu-graphs-tests.log"
  python3 benchmarks/abstractor_cuda_graphs.py --out "$results/abstractor-cuda-graphs.json"
else
  echo "this Python has no onnxruntime-gpu: the abstractor inside the core was not measured"
fi
