# Files for programs that use the library: by find_package(fastbert), by pkg-config, or by plain flags.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/fastbert)
install(TARGETS fastbert EXPORT fastbertTargets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
  RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR}
  INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES include/fastbert.h include/fastbert.hpp DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})

install(EXPORT fastbertTargets NAMESPACE fastbert:: DESTINATION ${config_dir})
configure_package_config_file(cmake/fastbertConfig.cmake.in fastbertConfig.cmake INSTALL_DESTINATION ${config_dir})
write_basic_package_version_file(fastbertConfigVersion.cmake COMPATIBILITY SameMajorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/fastbertConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/fastbertConfigVersion.cmake
  DESTINATION ${config_dir})

# Relative to the .pc file, so that an installed tree may be moved.
file(RELATIVE_PATH pc_prefix ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
string(REGEX REPLACE "/$" "" pc_prefix ${pc_prefix})
foreach(name LIBDIR INCLUDEDIR)
  if(IS_ABSOLUTE "${CMAKE_INSTALL_${name}}")
    set(pc_${name} "${CMAKE_INSTALL_${name}}")
  else()
    set(pc_${name} "\${prefix}/${CMAKE_INSTALL_${name}}")
  endif()
endforeach()
configure_file(cmake/fastbert.pc.in fastbert.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/fastbert.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
