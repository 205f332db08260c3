// The functions of libfmt, for a program without libfmt.so: Debian has no libfmt.a, and a
// header-only fmt would make every file slower to compile. Defined from the library's own header,
// as its documentation says for FMT_HEADER_ONLY, once and not inline.
#include <fmt/format-inl.h>

template fmt::detail::thousands_sep_result<char> fmt::detail::thousands_sep_impl<char>(
    fmt::detail::locale_ref);
template char fmt::detail::decimal_point_impl<char>(fmt::detail::locale_ref);
template fmt::detail::dragonbox::decimal_fp<float> fmt::detail::dragonbox::to_decimal<float>(float);
template fmt::detail::dragonbox::decimal_fp<double> fmt::detail::dragonbox::to_decimal<double>(
    double);
