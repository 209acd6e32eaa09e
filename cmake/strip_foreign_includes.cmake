# SPDX-License-Identifier: Apache-2.0
# Injected with CMAKE_PROJECT_INCLUDE when building against the ROS 2 wheels, after all of CMakeLists.txt:
# - some of their exported targets carry include directories of the machine that built them, and CMake refuses
#   directories that do not exist;
# - our own message target carries NumPy's headers, and CMake refuses to export a directory inside the source tree,
#   where .venv usually lies.
function(strip_includes regex)
  foreach(target IN LISTS ARGN)
    get_target_property(directories ${target} INTERFACE_INCLUDE_DIRECTORIES)
    if(directories)
      list(FILTER directories EXCLUDE REGEX "${regex}")
      set_property(TARGET ${target} PROPERTY INTERFACE_INCLUDE_DIRECTORIES "${directories}")
    endif()
  endforeach()
endfunction()

function(strip_foreign_includes)
  get_property(imported DIRECTORY PROPERTY IMPORTED_TARGETS)
  strip_includes("^/opt/python/" ${imported})
  get_property(ours DIRECTORY PROPERTY BUILDSYSTEM_TARGETS)
  strip_includes("/numpy/_?core/include$" ${ours})
endfunction()

cmake_language(DEFER CALL strip_foreign_includes)
