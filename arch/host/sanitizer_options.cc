// What the sanitizers of this process do unless the environment says otherwise.
#include "arch/host/host_priv.h"

// The kernel takes no memory from malloc and keeps its own account of pages, so leak search finds nothing.
extern "C" const char* __asan_default_options() {
    return "detect_leaks=0:detect_stack_use_after_return=0";
}

extern "C" const char* __ubsan_default_options() {
    return "print_stacktrace=1";
}

extern "C" const char* __tsan_default_options() {
    return "halt_on_error=1";
}
