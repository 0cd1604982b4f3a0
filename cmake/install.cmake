# The program, the library, its headers, the schemes' text, and what find_package(lissom) reads.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
install(TARGETS lissom_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(TARGETS lissom EXPORT lissomTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY include/lissom DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/lissom)
install(EXPORT lissomTargets NAMESPACE lissom:: DESTINATION ${package_dir})
configure_package_config_file(cmake/lissomConfig.cmake.in ${CMAKE_BINARY_DIR}/lissomConfig.cmake
  INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/lissomConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/lissomConfig.cmake ${CMAKE_BINARY_DIR}/lissomConfigVersion.cmake
  DESTINATION ${package_dir})
