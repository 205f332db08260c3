# cmake -D NM=nm -P isa_objects.cmake -- OBJECT...
#
# Fails if an object compiled for a newer instruction set (x_avx2.cpp.o, ...) defines a weak symbol:
# an inline function or template that another translation unit may define as well. The linker keeps
# one of them for the whole program; kept from here, it faults on machines without that instruction
# set.

set(checked 0)
foreach(i RANGE ${CMAKE_ARGC})
  set(object "${CMAKE_ARGV${i}}")
  if(NOT object MATCHES "_avx[0-9a-z]+\\.cpp\\.o$")
    continue()
  endif()
  math(EXPR checked "${checked} + 1")
  execute_process(COMMAND ${NM} -C ${object} OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
  # Defined weak symbols are V, W (data, code) and u (unique); undefined ones are in lower case.
  # DW.ref.NAME is a pointer to NAME for unwinding tables: the same data wherever it comes from.
  string(REGEX MATCHALL "[0-9a-f]+ [VWu] [^\n]*" shared "${symbols}")
  list(FILTER shared EXCLUDE REGEX " V DW\\.ref\\.")
  if(shared)
    list(JOIN shared "\n  " shared)
    message(SEND_ERROR "${object} defines symbols that other objects may share:\n  ${shared}")
  endif()
endforeach()
if(checked EQUAL 0)
  message(FATAL_ERROR "no object of a newer instruction set among the arguments")
endif()
