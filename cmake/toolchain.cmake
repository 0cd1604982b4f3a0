# Compiler options of every target, and the launcher and linker where they are installed.
find_program(CCACHE ccache)
if(CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  # ccache keeps what is compiled with a precompiled header only when it may trust the header's name and time.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros ${CCACHE})
endif()
find_program(MOLD mold)
find_program(LLD ld.lld)
if(CMAKE_CROSSCOMPILING)
  # The cross compiler's own linker.
elseif(MOLD AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  add_link_options(-fuse-ld=mold)
elseif(LLD)
  add_link_options(-fuse-ld=lld)
endif()

if(LISSOM_SANITIZE)
  add_compile_options(-fsanitize=${LISSOM_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${LISSOM_SANITIZE})
  add_compile_definitions(LISSOM_SANITIZED=1)
endif()

# A third of a clean build went into parsing the same slow headers, so that each target has them precompiled: HEADERS to
# have its own, or REUSE OTHER for those of a target with the same options. Every source still includes what it uses;
# `make lint` compiles each without.
function(lissom_precompile target)
  cmake_parse_arguments(ARG "" "REUSE" "HEADERS" ${ARGN})
  if(ARG_REUSE)
    target_precompile_headers(${target} REUSE_FROM ${ARG_REUSE})
  else()
    target_precompile_headers(${target} PRIVATE ${ARG_HEADERS})
  endif()
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    target_compile_options(${target} PRIVATE -fpch-preprocess)  # for ccache
  endif()
endfunction()

# The release build optimizes fully where the arithmetic is. Parsing compiles in half the time with less; the command line
# and the tests, which only call the library, in a third with nothing.
function(lissom_optimize target level)
  target_compile_options(${target} PRIVATE $<$<CONFIG:Release>:${level}>)
endfunction()
# Sources with a level of their own do without the precompiled header: GCC takes the level of the header's compilation.
function(lissom_optimize_sources level)
  set_property(SOURCE ${ARGN} PROPERTY SKIP_PRECOMPILE_HEADERS ON)
  set_property(SOURCE ${ARGN} APPEND PROPERTY COMPILE_OPTIONS $<$<CONFIG:Release>:${level}>)
endfunction()

function(lissom_compile_options target)
  target_compile_options(${target} PRIVATE
    -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Wno-psabi -Werror
    # The same bytes on every machine: no fused multiply-add that the source does not ask for.
    -ffp-contract=off -fno-math-errno -fno-trapping-math)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    # They see overlaps in "a" + string (GCC bug 105651) and strings of variants' other alternatives; clang has none.
    target_compile_options(${target} PRIVATE -Wno-restrict -Wno-stringop-overflow -Wno-array-bounds
      -Wno-maybe-uninitialized)
  endif()
endfunction()

if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$" AND CMAKE_CXX_COMPILER_ID STREQUAL "Clang"
   AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 16)
  message(FATAL_ERROR "AArch64 needs g++ or clang 16: earlier ones have sdot and usmmla for whole files only")
endif()

# A source whose name holds an instruction set is for one architecture: avx2 and avx512 for x86-64, neon for AArch64.
function(lissom_sources_of_this_machine list)
  set(sources ${${list}})
  if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
    list(FILTER sources EXCLUDE REGEX "(^|[/_])avx(2|512)[_.][^/]*$")
  endif()
  if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
    list(FILTER sources EXCLUDE REGEX "(^|[/_])neon[_.][^/]*$")
  endif()
  set(${list} ${sources} PARENT_SCOPE)
endfunction()
