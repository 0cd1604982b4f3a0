# Embeds schemes/*.yaml and schemes/pack/*.yaml into the library, one array entry per file, so that the program needs
# no data folder.
function(lissom_read_schemes folder out)
  file(GLOB files CONFIGURE_DEPENDS ${folder}/*.yaml)
  list(SORT files)
  set(entries)
  foreach(scheme_file IN LISTS files)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${scheme_file})
    file(READ ${scheme_file} scheme_text)
    cmake_path(GET scheme_file STEM LAST_ONLY scheme_name)
    string(APPEND entries "    {\"${scheme_name}\", R\"yaml(${scheme_text})yaml\"},\n")
  endforeach()
  set(${out} "${entries}" PARENT_SCOPE)
endfunction()
lissom_read_schemes(${CMAKE_SOURCE_DIR}/schemes scheme_entries)
lissom_read_schemes(${CMAKE_SOURCE_DIR}/schemes/pack pack_scheme_entries)
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/generated/builtin_schemes.cpp @ONLY CONTENT
[[#include "compress/builtin_schemes.h"

namespace lissom {
namespace {
constexpr BuiltinScheme kSchemes[] = {
@scheme_entries@};
constexpr BuiltinScheme kPackSchemes[] = {
@pack_scheme_entries@};
}  // namespace
std::span<const BuiltinScheme> builtin_schemes() { return kSchemes; }
std::span<const BuiltinScheme> builtin_pack_schemes() { return kPackSchemes; }
}  // namespace lissom
]])
target_sources(lissom PRIVATE ${CMAKE_BINARY_DIR}/generated/builtin_schemes.cpp)
