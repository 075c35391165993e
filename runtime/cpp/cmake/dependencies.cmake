# What the library is built with: nlohmann-json (headers), and utf8proc if it tokenizes. ONNX Runtime is not among them:
# it is loaded at run time, and its headers are not needed.
find_package(Threads REQUIRED)
find_package(nlohmann_json 3.10 QUIET)
if(NOT nlohmann_json_FOUND)
  message(FATAL_ERROR "nlohmann-json 3.10 or later was not found. Install it (Debian: nlohmann-json3-dev), or name its "
                      "folder: cmake -Dnlohmann_json_DIR=...")
endif()

# Says whether a static utf8proc can be part of a shared library: whether it is position independent.
function(fastbert_check_static_utf8proc library result)
  if(NOT elf)
    set(${result} TRUE PARENT_SCOPE)
    return()
  endif()
  set(source ${CMAKE_CURRENT_BINARY_DIR}/static_utf8proc.cpp)
  file(WRITE ${source} "#include <utf8proc.h>\nint f() { return utf8proc_get_property(65)->category; }\n")
  try_compile(FASTBERT_STATIC_UTF8PROC_WORKS ${CMAKE_CURRENT_BINARY_DIR}/static_utf8proc SOURCES ${source}
    COMPILE_DEFINITIONS -fPIC -DUTF8PROC_STATIC LINK_OPTIONS -shared LINK_LIBRARIES ${library}
    CMAKE_FLAGS -DINCLUDE_DIRECTORIES=${UTF8PROC_INCLUDE_DIR})
  set(${result} ${FASTBERT_STATIC_UTF8PROC_WORKS} PARENT_SCOPE)
endfunction()

if(FASTBERT_TEXT)
  find_package(PkgConfig QUIET)
  if(PKG_CONFIG_FOUND)
    pkg_check_modules(PC_UTF8PROC QUIET libutf8proc)
  endif()
  find_path(UTF8PROC_INCLUDE_DIR utf8proc.h HINTS ${PC_UTF8PROC_INCLUDEDIR})
  find_library(UTF8PROC_STATIC_LIBRARY NAMES libutf8proc.a utf8proc_static HINTS ${PC_UTF8PROC_LIBDIR})
  find_library(UTF8PROC_SHARED_LIBRARY NAMES utf8proc HINTS ${PC_UTF8PROC_LIBDIR})
  mark_as_advanced(UTF8PROC_INCLUDE_DIR UTF8PROC_STATIC_LIBRARY UTF8PROC_SHARED_LIBRARY)
  if(NOT FASTBERT_UTF8PROC MATCHES "^(AUTO|STATIC|SHARED)$")
    message(FATAL_ERROR "FASTBERT_UTF8PROC is ${FASTBERT_UTF8PROC}; it must be AUTO, STATIC or SHARED.")
  endif()
  set(utf8proc_static FALSE)
  if(UTF8PROC_INCLUDE_DIR AND UTF8PROC_STATIC_LIBRARY AND NOT FASTBERT_UTF8PROC STREQUAL "SHARED")
    fastbert_check_static_utf8proc(${UTF8PROC_STATIC_LIBRARY} utf8proc_static)
  endif()
  if(NOT UTF8PROC_INCLUDE_DIR OR NOT (utf8proc_static OR UTF8PROC_SHARED_LIBRARY)
     OR (FASTBERT_UTF8PROC STREQUAL "STATIC" AND NOT utf8proc_static))
    message(FATAL_ERROR "utf8proc was not found (FASTBERT_UTF8PROC=${FASTBERT_UTF8PROC}; header: "
                        "${UTF8PROC_INCLUDE_DIR}; static: ${UTF8PROC_STATIC_LIBRARY}; shared: "
                        "${UTF8PROC_SHARED_LIBRARY}). A static one must be position independent. Install it (Debian: "
                        "libutf8proc-dev), or build without text: cmake -DFASTBERT_TEXT=OFF")
  endif()
endif()

function(fastbert_link_dependencies target)
  # By path and not as targets, so that a program that uses the library need not find them.
  target_link_libraries(${target} PRIVATE ${CMAKE_DL_LIBS} $<BUILD_INTERFACE:Threads::Threads>
    $<BUILD_INTERFACE:nlohmann_json::nlohmann_json>)
  if(NOT FASTBERT_TEXT)
    return()
  endif()
  target_include_directories(${target} SYSTEM PRIVATE ${UTF8PROC_INCLUDE_DIR})
  if(utf8proc_static)
    target_compile_definitions(${target} PRIVATE UTF8PROC_STATIC)
    target_link_libraries(${target} PRIVATE ${UTF8PROC_STATIC_LIBRARY})
  else()
    target_link_libraries(${target} PRIVATE ${UTF8PROC_SHARED_LIBRARY})
  endif()
endfunction()
