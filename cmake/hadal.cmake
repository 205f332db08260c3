# One function, hadal_folder(), turns a list of files into a library with its tests, benchmarks and
# fuzzers. What a folder may link is read from src/deps.txt, the same file that `make check` holds
# every #include against.

find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(GTest REQUIRED)
find_package(benchmark REQUIRED)
include(GoogleTest)

add_library(hadal_options INTERFACE)
target_include_directories(hadal_options INTERFACE ${CMAKE_SOURCE_DIR}/src)
target_compile_options(hadal_options INTERFACE -Wall -Wextra -Wnon-virtual-dtor
                                               -fno-math-errno)
target_link_libraries(hadal_options INTERFACE Threads::Threads)
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  target_compile_options(hadal_options INTERFACE -Wthread-safety)
endif()
if(HADAL_WERROR)
  target_compile_options(hadal_options INTERFACE -Werror)
endif()
# The baseline of the x86 build: SSE4.2, every x86-64 machine since 2009. Anything newer is chosen at
# run time (src/cpu).
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  target_compile_options(hadal_options INTERFACE -march=x86-64-v2)
endif()
if(HADAL_SANITIZE)
  set(flags -fsanitize=${HADAL_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  if(HADAL_FUZZ)
    list(APPEND flags -fsanitize=fuzzer-no-link)
  endif()
  target_compile_options(hadal_options INTERFACE ${flags})
  target_link_options(hadal_options INTERFACE ${flags})
endif()

# Lines of src/deps.txt: "folder: what it may use".
file(STRINGS ${CMAKE_SOURCE_DIR}/src/deps.txt lines REGEX "^[a-z]")
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/deps.txt)
foreach(line IN LISTS lines)
  string(REGEX MATCH "^([a-z_]+):(.*)$" _ "${line}")
  set(folder ${CMAKE_MATCH_1})
  separate_arguments(uses UNIX_COMMAND "${CMAKE_MATCH_2}")
  list(APPEND HADAL_FOLDERS ${folder})
  set(HADAL_DEPS_${folder} ${uses})
endforeach()

# hadal_folder(SOURCES ... TESTS ... SLOW_TESTS ... BENCHES ... FUZZERS ... LINKS ...)
#   SOURCES     the library hadal::<folder>
#   TESTS       one program <folder>_test, run by `make test`
#   SLOW_TESTS  one program <folder>_slow_test with the ctest label "slow", run by `make test-slow`
#   BENCHES     one program <folder>_bench, run by `make bench`
#   FUZZERS     one program per file x_fuzz.cpp, run by `make fuzz`
#   LINKS       third-party targets
function(hadal_folder)
  cmake_parse_arguments(ARG "" "" "SOURCES;TESTS;SLOW_TESTS;BENCHES;FUZZERS;LINKS" ${ARGN})
  get_filename_component(name ${CMAKE_CURRENT_SOURCE_DIR} NAME)
  set(library hadal_${name})
  add_library(${library} STATIC ${ARG_SOURCES})
  add_library(hadal::${name} ALIAS ${library})
  target_link_libraries(${library} PUBLIC hadal_options PRIVATE fmt::fmt ${ARG_LINKS})
  foreach(folder IN LISTS HADAL_DEPS_${name})
    target_link_libraries(${library} PUBLIC hadal::${folder})
  endforeach()

  if(ARG_TESTS)
    hadal_test_program(${name}_test fast ${library} "${ARG_LINKS}" ${ARG_TESTS})
  endif()
  if(ARG_SLOW_TESTS)
    hadal_test_program(${name}_slow_test slow ${library} "${ARG_LINKS}" ${ARG_SLOW_TESTS})
  endif()
  if(ARG_BENCHES)
    add_executable(${name}_bench ${ARG_BENCHES})
    target_link_libraries(${name}_bench PRIVATE ${library} benchmark::benchmark_main fmt::fmt
                                                ${ARG_LINKS})
    set_property(GLOBAL APPEND PROPERTY HADAL_BENCHES ${name}_bench)
  endif()
  if(HADAL_FUZZ)
    foreach(file IN LISTS ARG_FUZZERS)
      get_filename_component(fuzzer ${file} NAME_WE)
      add_executable(${name}_${fuzzer} ${file})
      target_link_libraries(${name}_${fuzzer} PRIVATE ${library} fmt::fmt ${ARG_LINKS})
      target_link_options(${name}_${fuzzer} PRIVATE -fsanitize=fuzzer)
    endforeach()
  endif()
endfunction()

function(hadal_test_program program label library links)
  add_executable(${program} ${ARGN})
  target_link_libraries(${program} PRIVATE ${library} GTest::gtest GTest::gtest_main fmt::fmt
                                           ${links})
  target_compile_definitions(${program} PRIVATE HADAL_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  gtest_discover_tests(${program} PROPERTIES LABELS ${label} TIMEOUT 600 DISCOVERY_TIMEOUT 60)
endfunction()
