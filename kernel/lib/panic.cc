#include "kernel/lib/panic.h"

#include "arch/machine.h"
#include "kernel/lib/log.h"

namespace k {

void panic_with(std::string_view format, format_args args) {
    char text[400];
    buffer_sink sink(text);
    format_with(sink, format, args);
    log_without_lock();
    arch::cpu::die(sink.view());
    __builtin_unreachable();
}

void assertion_failed(const char* expression, k::where where) {
    panic("assertion failed: {} in {} at {}:{}", expression, where.function, where.file, where.line);
}

} // namespace k

// Boost.Intrusive's own checks (BOOST_ENABLE_ASSERT_HANDLER).
namespace boost {

void assertion_failed(const char* expression, const char* function, const char* file, long line) {
    k::panic("assertion failed: {} in {} at {}:{}", expression, function, file, line);
}

} // namespace boost
