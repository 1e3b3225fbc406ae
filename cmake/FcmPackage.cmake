# What `cmake --install` lays down: libfcm.so, the headers, the programs, and the files by which others find them (find_package(fcm) with
# the target fcm::fcm, and fcm.pc). The installed tree may be moved: nothing in it names the prefix.
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/fcm)

install(TARGETS fcm EXPORT fcmTargets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/runtime/include/fcm DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h" PATTERN "*.hpp")
install(EXPORT fcmTargets NAMESPACE fcm:: DESTINATION ${package_dir})
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE ${PROJECT_SOURCE_DIR}/README.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
foreach(program fcm-infer fcm-bench fcm-plan)
  if(TARGET ${program})
    install(TARGETS ${program} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  endif()
endforeach()

configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/fcmConfig.cmake.in ${PROJECT_BINARY_DIR}/fcmConfig.cmake
  INSTALL_DESTINATION ${package_dir} NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/fcmConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/fcmConfig.cmake ${PROJECT_BINARY_DIR}/fcmConfigVersion.cmake DESTINATION ${package_dir})

# The prefix as seen from the folder of fcm.pc.
file(RELATIVE_PATH FCM_PC_TO_PREFIX ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
string(REGEX REPLACE "/$" "" FCM_PC_TO_PREFIX ${FCM_PC_TO_PREFIX})
configure_file(${PROJECT_SOURCE_DIR}/cmake/fcm.pc.in ${PROJECT_BINARY_DIR}/fcm.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/fcm.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
