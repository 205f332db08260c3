# Writes a C++ source with the text of files, as src/gpu/embedded.h declares it:
#   cmake -D ROOT=src -D OUT=embedded.cpp -P embed_text.cmake -- src/gpu/device/mma.cuh ...
# A file is named by its path below ROOT. Files may hold anything but the mark that ends a literal.

set(files)
set(is_file FALSE)
math(EXPR last "${CMAKE_ARGC} - 1")
foreach(i RANGE ${last})
  if(is_file)
    list(APPEND files ${CMAKE_ARGV${i}})
  elseif(CMAKE_ARGV${i} STREQUAL "--")
    set(is_file TRUE)
  endif()
endforeach()
list(SORT files)
list(LENGTH files count)

set(rows "")
foreach(file IN LISTS files)
  file(RELATIVE_PATH name ${ROOT} ${file})
  file(READ ${file} content)
  string(FIND "${content}" ")HADAL_TEXT\"" end)
  if(NOT end EQUAL -1)
    message(FATAL_ERROR "${file} contains the mark that ends its literal")
  endif()
  string(APPEND rows "    {\"${name}\", R\"HADAL_TEXT(${content})HADAL_TEXT\"},\n")
endforeach()
file(WRITE ${OUT} "#include <array>\n#include \"gpu/embedded.h\"\n
namespace hadal::gpu {\n
std::span<const EmbeddedHeader> embedded_headers() {
  static constexpr std::array<EmbeddedHeader, ${count}> kHeaders = {{\n${rows}  }};
  return kHeaders;
}\n
}  // namespace hadal::gpu\n")
