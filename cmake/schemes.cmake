# Embeds schemes/*.yaml into the library, one array entry per file, so that the program needs no data folder.
file(GLOB scheme_files CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/schemes/*.yaml)
list(SORT scheme_files)
set(scheme_entries)
foreach(scheme_file IN LISTS scheme_files)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${scheme_file})
  file(READ ${scheme_file} scheme_text)
  cmake_path(GET scheme_file STEM scheme_name)
  string(APPEND scheme_entries "    {\"${scheme_name}\", R\"yaml(${scheme_text})yaml\"},\n")
endforeach()
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/generated/builtin_schemes.cpp @ONLY CONTENT
[[#include "compress/builtin_schemes.h"

namespace lissom {
namespace {
constexpr BuiltinScheme kSchemes[] = {
@scheme_entries@};
}  // namespace
std::span<const BuiltinScheme> builtin_schemes() { return kSchemes; }
}  // namespace lissom
]])
target_sources(lissom PRIVATE ${CMAKE_BINARY_DIR}/generated/builtin_schemes.cpp)
