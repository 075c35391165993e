# How the library is compiled and linked.
include(CheckCXXSourceCompiles)

if(FASTBERT_SANITIZE)
  if(NOT FASTBERT_SANITIZE MATCHES "^(thread|address|undefined)$")
    message(FATAL_ERROR "FASTBERT_SANITIZE is ${FASTBERT_SANITIZE}; it must be thread, address or undefined.")
  endif()
  add_compile_options(-fsanitize=${FASTBERT_SANITIZE} -fno-omit-frame-pointer -g)
  add_link_options(-fsanitize=${FASTBERT_SANITIZE})
  if(FASTBERT_SANITIZE STREQUAL "undefined")
    add_compile_options(-fno-sanitize-recover=all)
  endif()
endif()

# std::from_chars of a double came with GCC 11 and Clang's libc++ 20: numbers are read without a locale.
set(CMAKE_CXX_STANDARD 17)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
check_cxx_source_compiles(
  "#include <charconv>\nint main() { double x; return *std::from_chars(\"1\", \"1\" + 1, x).ptr; }"
  FASTBERT_HAS_FROM_CHARS)
if(NOT FASTBERT_HAS_FROM_CHARS)
  message(FATAL_ERROR "${CMAKE_CXX_COMPILER} has no std::from_chars for double. Use GCC 11 or later, or Clang with its "
                      "libstdc++: cmake -DCMAKE_CXX_COMPILER=...")
endif()

set(elf FALSE)
if(UNIX AND NOT APPLE)
  set(elf TRUE)
endif()

function(fastbert_compile target)
  set_target_properties(${target} PROPERTIES
    POSITION_INDEPENDENT_CODE ON CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)
  if(CMAKE_CXX_COMPILER_ID MATCHES "GNU|Clang")
    target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic -Wconversion -Wshadow -ffunction-sections)
  endif()
endfunction()

# Says whether -static-libstdc++ works: some distributions have the static library in a package of its own.
function(fastbert_check_static_runtime result)
  set(CMAKE_REQUIRED_LINK_OPTIONS -static-libstdc++ -static-libgcc)
  check_cxx_source_compiles("#include <string>\nint main(int n, char **) { return std::string(n, 'x').size() == 0; }"
                            FASTBERT_STATIC_RUNTIME_WORKS)
  set(${result} ${FASTBERT_STATIC_RUNTIME_WORKS} PARENT_SCOPE)
endfunction()

function(fastbert_link_shared target)
  if(NOT elf)
    return()
  endif()
  set(map ${CMAKE_CURRENT_SOURCE_DIR}/src/fastbert.map)
  set_property(TARGET ${target} APPEND PROPERTY LINK_DEPENDS ${map})
  # nodelete: ONNX Runtime keeps the address of our log function until the process ends.
  target_link_options(${target} PRIVATE
    LINKER:--version-script=${map} LINKER:--gc-sections LINKER:-z,nodelete LINKER:-z,relro LINKER:-z,now)
  if(NOT FASTBERT_SANITIZE)  # a sanitizer's functions are in the program
    target_link_options(${target} PRIVATE LINKER:-z,defs)
  endif()
  if(FASTBERT_STATIC_RUNTIME)
    fastbert_check_static_runtime(works)
    if(works)
      # The map hides their symbols too, so a host's own C++ runtime is not disturbed. Exceptions never leave the library.
      target_link_options(${target} PRIVATE -static-libstdc++ -static-libgcc)
    elseif(NOT FASTBERT_STATIC_RUNTIME STREQUAL "AUTO")
      message(FATAL_ERROR "FASTBERT_STATIC_RUNTIME is ON, and there is no static libstdc++ to link. Install it (Fedora: "
                          "libstdc++-static), or leave the option out.")
    endif()
  endif()
endfunction()
