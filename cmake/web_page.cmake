# Puts the files of a page (HTML, CSS, JavaScript) into one, without any tool but CMake:
#   cmake -D PAGE=page.html -D OUT=out.html -P web_page.cmake
# A line `<!--INCLUDE a.js b.js-->` of PAGE becomes the content of these files, which lie beside it.
# Sources may hold anything but the bytes that end their element.

get_filename_component(folder ${PAGE} DIRECTORY)
file(READ ${PAGE} rest)
set(result "")
while(rest MATCHES "<!--INCLUDE ([^>]*)-->")
  set(mark "${CMAKE_MATCH_0}")
  separate_arguments(files UNIX_COMMAND "${CMAKE_MATCH_1}")
  string(FIND "${rest}" "${mark}" at)
  string(LENGTH "${mark}" length)
  string(SUBSTRING "${rest}" 0 ${at} before)
  math(EXPR past "${at} + ${length}")
  string(SUBSTRING "${rest}" ${past} -1 rest)
  string(APPEND result "${before}")
  foreach(file IN LISTS files)
    file(READ ${folder}/${file} content)
    if(content MATCHES "</(script|style)")
      message(FATAL_ERROR "${file} contains ${CMAKE_MATCH_0}, which would end its element")
    endif()
    string(APPEND result "${content}")
  endforeach()
endwhile()
file(WRITE ${OUT} "${result}${rest}")
