// Error numbers with Linux's x86-64 values (asm-generic/errno.h), as an enumeration: a value of
// another meaning cannot slip in where an error is expected. The names are lower case because the
// host's <errno.h> defines the usual ones as macros.
#pragma once

#include <string_view>

namespace k {

enum class error : int {
    perm = 1,
    noent = 2,
    intr = 4,
    io = 5,
    nxio = 6,
    toobig = 7,
    badf = 9,
    again = 11,
    nomem = 12,
    acces = 13,
    fault = 14,
    busy = 16,
    exist = 17,
    nodev = 19,
    inval = 22,
    nospc = 28,
    range = 34,
    nosys = 38,
    overflow = 75,
    opnotsupp = 95,
    nobufs = 105,
    notconn = 107,
    timedout = 110,
    canceled = 125,
};

std::string_view name_of(error e);

} // namespace k
