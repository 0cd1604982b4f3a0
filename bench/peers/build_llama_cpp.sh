#!/bin/sh
# Builds llama.cpp's own programs from the sources that the sdist of llama-cpp-python carries, and installs that Python
# binding over the same libraries, so that one build serves the tests and the benchmarks. Four minutes on two cores.
# usage: build_llama_cpp.sh DIR [avx2]   (in an active virtual environment with requirements/test.txt)
# avx2: the programs alone, for a machine that has no more than AVX2.
set -eu
version=0.3.36
dir=${1:?usage: build_llama_cpp.sh DIR [avx2]}
instructions=${2:-native}
case $instructions in
  native) machine="-DGGML_NATIVE=ON" ;;
  avx2) machine="-DGGML_NATIVE=OFF -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON" ;;
  *) echo "$instructions: avx2, or nothing" >&2; exit 2 ;;
esac
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
[ ! -f "$dir/done-$version" ] || exit 0
cd "$dir"
python -m pip download -q --no-deps --no-binary :all: --no-build-isolation "llama-cpp-python==$version"
tar xzf "llama_cpp_python-$version.tar.gz"
launcher=""
if command -v ccache >/dev/null; then
  launcher="-DCMAKE_C_COMPILER_LAUNCHER=ccache -DCMAKE_CXX_COMPILER_LAUNCHER=ccache"
fi
# shellcheck disable=SC2086
cmake -S "llama_cpp_python-$version/vendor/llama.cpp" -B . -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON \
  $machine -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF \
  -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_TOOLS=ON "-DCMAKE_BUILD_RPATH=\$ORIGIN" $launcher >cmake.log 2>&1 ||
  { tail -20 cmake.log >&2; exit 1; }
ninja llama-bench llama-batched-bench llama-quantize llama-perplexity llama-imatrix >build.log 2>&1 ||
  { tail -30 build.log >&2; exit 1; }
if [ "$instructions" = native ]; then
  python -m pip install -q --no-deps --no-build-isolation --config-settings wheel.cmake=false "./llama_cpp_python-$version"
  package=$(python -c 'import importlib.util as u, os; print(os.path.dirname(u.find_spec("llama_cpp").origin))')
  mkdir -p "$package/lib"
  cp -a bin/lib*.so* "$package/lib/"
fi
touch "done-$version"
