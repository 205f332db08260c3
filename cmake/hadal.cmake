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
# -ffp-contract=off: g++ would otherwise fuse a*b+c where the target has FMA, so that results differed
# between instruction sets. Kernels that want a fused operation write it.
target_compile_options(hadal_options INTERFACE -Wall -Wextra -Wnon-virtual-dtor
                                               -fno-math-errno -ffp-contract=off)
target_link_libraries(hadal_options INTERFACE Threads::Threads)
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  target_compile_options(hadal_options INTERFACE -Wthread-safety)
else()
  # g++ 12 warns about std::string's own copies (GCC bug 105329).
  target_compile_options(hadal_options INTERFACE -Wno-restrict)
endif()
if(HADAL_WERROR)
  target_compile_options(hadal_options INTERFACE -Werror)
endif()
# The baseline of the x86 build: SSE4.2, every x86-64 machine since 2009. Anything newer is chosen at
# run time (src/cpu): a source x_<isa>.cpp is compiled with HADAL_ISA_<isa>, and only for x86.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  target_compile_options(hadal_options INTERFACE -march=x86-64-v2)
  set(HADAL_ISA_avx2 -march=x86-64-v3)
  set(HADAL_ISA_avx512 -march=x86-64-v4)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # g++ 12's own header warns about _mm512_undefined_ps() (GCC bug 105593).
    list(APPEND HADAL_ISA_avx512 -Wno-uninitialized -Wno-maybe-uninitialized)
  endif()
  set(HADAL_ISA_avx512bf16 ${HADAL_ISA_avx512} -mavx512bf16 -mavx512vnni -mavx512vbmi)
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
#   SOURCES     the library hadal::<folder>; x_avx2.cpp, x_avx512.cpp and x_avx512bf16.cpp get the flags
#               of their instruction set
#   TESTS       one program <folder>_test, run by `make test`
#   SLOW_TESTS  one program <folder>_slow_test with the ctest label "slow", run by `make test-slow`
#   BENCHES     one program <folder>_bench, run by `make bench`
#   FUZZERS     one program per file x_fuzz.cpp, run by `make fuzz`
#   LINKS       third-party targets
#   BENCH_LINKS those of the benchmarks alone: peers
function(hadal_folder)
  cmake_parse_arguments(ARG "" "" "SOURCES;TESTS;SLOW_TESTS;BENCHES;FUZZERS;LINKS;BENCH_LINKS" ${ARGN})
  get_filename_component(name ${CMAKE_CURRENT_SOURCE_DIR} NAME)
  set(library hadal_${name})
  set(isa_objects)
  foreach(source IN LISTS ARG_SOURCES)
    if(NOT source MATCHES "_(avx[0-9a-z]+)\\.cpp$")
      continue()
    endif()
    if(DEFINED HADAL_ISA_${CMAKE_MATCH_1})
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${HADAL_ISA_${CMAKE_MATCH_1}}")
      list(APPEND isa_objects ${source})
    else()
      list(REMOVE_ITEM ARG_SOURCES ${source})
    endif()
  endforeach()
  add_library(${library} STATIC ${ARG_SOURCES})
  if(isa_objects)
    add_test(NAME ${name}.isa_objects_share_no_code
             COMMAND ${CMAKE_COMMAND} -D NM=${CMAKE_NM} -P ${CMAKE_SOURCE_DIR}/cmake/isa_objects.cmake
                     -- $<TARGET_OBJECTS:${library}>
             COMMAND_EXPAND_LISTS)
    set_tests_properties(${name}.isa_objects_share_no_code PROPERTIES LABELS fast)
  endif()
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
                                                ${ARG_LINKS} ${ARG_BENCH_LINKS})
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
  # A slow test may run a hundred thousand seeds of the simulator.
  set(seconds 600)
  if(label STREQUAL slow)
    set(seconds 14400)
  endif()
  gtest_discover_tests(${program} PROPERTIES LABELS ${label} TIMEOUT ${seconds}
                       DISCOVERY_TIMEOUT 60)
endfunction()
