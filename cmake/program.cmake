# The program, what is embedded into it, its plugin, and what `install` puts where.
include(cmake/schemes.cmake)
include(cmake/engine.cmake)

file(GLOB cli_sources CONFIGURE_DEPENDS apps/lissom/*.cpp)
add_executable(lissom_cli ${cli_sources})
set_target_properties(lissom_cli PROPERTIES OUTPUT_NAME lissom RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
target_include_directories(lissom_cli PRIVATE src)
target_compile_definitions(lissom_cli PRIVATE LISSOM_VERSION="${PROJECT_VERSION}")
target_link_libraries(lissom_cli PRIVATE lissom CLI11::CLI11 nlohmann_json::nlohmann_json fmt::fmt)
lissom_compile_options(lissom_cli)
lissom_optimize(lissom_cli -O0)
lissom_precompile(lissom_cli HEADERS <fmt/format.h> ${LISSOM_SLOW_HEADERS})

include(cmake/install.cmake)
