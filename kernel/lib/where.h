// A place in the source: <source_location> in little, which libstdc++ 12 hides from clang 14.
#pragma once

namespace k {

struct where {
    const char* file;
    int line;
    const char* function;

    static constexpr where here(const char* file = __builtin_FILE(), int line = __builtin_LINE(),
                                const char* function = __builtin_FUNCTION()) {
        return {file, line, function};
    }
};

} // namespace k
