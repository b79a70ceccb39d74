// Error numbers with Linux's x86-64 values (asm-generic/errno.h), as an enumeration: a value of
// another meaning cannot slip in where an error is expected. The names are lower case because the
// host's <errno.h> defines the usual ones as macros.
#pragma once

#include <string_view>

namespace k {

enum class error : int {
    perm = 1,
    noent = 2,
    srch = 3,
    intr = 4,
    io = 5,
    nxio = 6,
    toobig = 7,
    noexec = 8,
    badf = 9,
    child = 10,
    again = 11,
    nomem = 12,
    acces = 13,
    fault = 14,
    notblk = 15,
    busy = 16,
    exist = 17,
    xdev = 18,
    nodev = 19,
    notdir = 20,
    isdir = 21,
    inval = 22,
    nfile = 23,
    mfile = 24,
    notty = 25,
    txtbsy = 26,
    fbig = 27,
    nospc = 28,
    spipe = 29,
    rofs = 30,
    mlink = 31,
    pipe = 32,
    range = 34,
    deadlk = 35,
    nametoolong = 36,
    nolck = 37,
    nosys = 38,
    notempty = 39,
    loop = 40,
    nodata = 61,
    overflow = 75,
    notsock = 88,
    destaddrreq = 89,
    msgsize = 90,
    prototype = 91,
    noprotoopt = 92,
    protonosupport = 93,
    socktnosupport = 94,
    opnotsupp = 95,
    afnosupport = 97,
    addrinuse = 98,
    addrnotavail = 99,
    connreset = 104,
    nobufs = 105,
    isconn = 106,
    notconn = 107,
    toomanyrefs = 109,
    timedout = 110,
    connrefused = 111,
    already = 114,
    stale = 116,
    canceled = 125,
    ownerdead = 130,
};

std::string_view name_of(error e);

} // namespace k
