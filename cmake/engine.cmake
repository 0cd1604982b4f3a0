# The plugin with LibTorch. torch comes from Python's package: LISSOM_TORCH is its folder, which holds include/ and lib/.
if(NOT LISSOM_TORCH)
  file(GLOB found ${CMAKE_SOURCE_DIR}/.venv/lib/python3*/site-packages/torch)
  set(LISSOM_TORCH "${found}" CACHE PATH "Folder of the Python package torch; empty: build without the engine" FORCE)
endif()
if(NOT EXISTS "${LISSOM_TORCH}/include/ATen/ATen.h")
  message(STATUS "No torch: the engine (liblissom_engine.so) is not built")
  return()
endif()
file(STRINGS ${LISSOM_TORCH}/version.py torch_version REGEX "^__version__")
string(REGEX MATCH "[0-9][0-9.]*" torch_version "${torch_version}")

file(GLOB engine_sources CONFIGURE_DEPENDS src/engine/*.cpp)
list(FILTER engine_sources EXCLUDE REGEX "_test\\.cpp$")
add_library(lissom_engine_objects OBJECT ${engine_sources})
target_include_directories(lissom_engine_objects PRIVATE src)
target_include_directories(lissom_engine_objects SYSTEM PUBLIC ${LISSOM_TORCH}/include)
target_compile_definitions(lissom_engine_objects PRIVATE LISSOM_TORCH_VERSION="${torch_version}")
target_link_libraries(lissom_engine_objects PUBLIC lissom ${LISSOM_TORCH}/lib/libtorch_cpu.so
  ${LISSOM_TORCH}/lib/libc10.so)
# A torch for GPUs keeps their kernels in a library that nothing here names: loading it is what registers them.
if(EXISTS "${LISSOM_TORCH}/lib/libtorch_cuda.so")
  target_link_libraries(lissom_engine_objects PUBLIC -Wl,--push-state,--no-as-needed
    ${LISSOM_TORCH}/lib/libtorch_cuda.so ${LISSOM_TORCH}/lib/libc10_cuda.so -Wl,--pop-state)
endif()
lissom_compile_options(lissom_engine_objects)
lissom_optimize(lissom_engine_objects -O1)

# It carries its own copy of the library, and shows one symbol.
add_library(lissom_engine MODULE)
target_link_libraries(lissom_engine PRIVATE lissom_engine_objects)
target_link_options(lissom_engine PRIVATE -Wl,--exclude-libs,ALL)
set_target_properties(lissom_engine PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}
  BUILD_RPATH ${LISSOM_TORCH}/lib INSTALL_RPATH ${LISSOM_TORCH}/lib)
