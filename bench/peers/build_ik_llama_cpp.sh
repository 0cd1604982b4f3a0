#!/bin/sh
# Builds ik_llama.cpp's llama-bench and llama-quantize for this machine from the sources that the sdist of
# ik-llama-cpp-python carries; its wheel is for AVX2 only and no fair peer of native code. 18 minutes on two cores.
# usage: build_ik_llama_cpp.sh DIR   (in an active virtual environment with requirements/test.txt); programs: DIR/bin
set -eu
version=0.1.5
dir=${1:?usage: build_ik_llama_cpp.sh DIR}
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
[ ! -f "$dir/done-$version" ] || exit 0
cd "$dir"
python -m pip download -q --no-deps --no-binary :all: --no-build-isolation "ik-llama-cpp-python==$version"
tar xzf "ik_llama_cpp_python-$version.tar.gz"
source="ik_llama_cpp_python-$version/vendor/ik_llama.cpp"
# The sdist leaves out the script that writes build-info.cpp, which the programs link.
mkdir -p "$source/common/cmake"
echo '# build-info.cpp is there already' >"$source/common/cmake/build-info-gen-cpp.cmake"
cat >"$source/common/build-info.cpp" <<EOF
int LLAMA_BUILD_NUMBER = 0;
char const* LLAMA_COMMIT = "sdist $version";
char const* LLAMA_COMPILER = "";
char const* LLAMA_BUILD_TARGET = "";
EOF
launcher=""
if command -v ccache >/dev/null; then
  launcher="-DCMAKE_C_COMPILER_LAUNCHER=ccache -DCMAKE_CXX_COMPILER_LAUNCHER=ccache"
fi
# shellcheck disable=SC2086
cmake -S "$source" -B . -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON -DGGML_NATIVE=ON -DLLAMA_CURL=OFF \
  -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=ON -DLLAMA_BUILD_SERVER=OFF $launcher >cmake.log 2>&1 ||
  { tail -20 cmake.log >&2; exit 1; }
ninja llama-bench llama-quantize >build.log 2>&1 || { tail -30 build.log >&2; exit 1; }
touch "done-$version"
