# What `cmake --install` and `make package` lay down for C and C++ programs. Nothing in it knows the
# prefix, so that the tree may be moved; the folders have these names on every system for its sake.
include(CMakePackageConfigHelpers)
set(config_directory lib/cmake/saccade)

install(TARGETS saccade_shared EXPORT saccade-targets LIBRARY DESTINATION lib COMPONENT library)
install(FILES include/saccade.h include/saccade_ops.h DESTINATION include COMPONENT library)

# find_package(saccade), then target_link_libraries(... saccade::saccade)
install(EXPORT saccade-targets NAMESPACE saccade:: FILE saccade-config.cmake
        DESTINATION ${config_directory} COMPONENT library)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/generated/saccade-config-version.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/generated/saccade-config-version.cmake
        DESTINATION ${config_directory} COMPONENT library)

# pkg-config --cflags --libs saccade
configure_file(cmake/saccade.pc.in generated/saccade.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/generated/saccade.pc DESTINATION lib/pkgconfig COMPONENT library)
