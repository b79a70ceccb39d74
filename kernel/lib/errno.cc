#include "kernel/lib/errno.h"

namespace k {

std::string_view name_of(error e) {
    switch (e) {
    case error::perm: return "EPERM";
    case error::noent: return "ENOENT";
    case error::srch: return "ESRCH";
    case error::intr: return "EINTR";
    case error::io: return "EIO";
    case error::nxio: return "ENXIO";
    case error::toobig: return "E2BIG";
    case error::noexec: return "ENOEXEC";
    case error::badf: return "EBADF";
    case error::child: return "ECHILD";
    case error::again: return "EAGAIN";
    case error::nomem: return "ENOMEM";
    case error::acces: return "EACCES";
    case error::fault: return "EFAULT";
    case error::notblk: return "ENOTBLK";
    case error::busy: return "EBUSY";
    case error::exist: return "EEXIST";
    case error::xdev: return "EXDEV";
    case error::nodev: return "ENODEV";
    case error::notdir: return "ENOTDIR";
    case error::isdir: return "EISDIR";
    case error::inval: return "EINVAL";
    case error::nfile: return "ENFILE";
    case error::mfile: return "EMFILE";
    case error::notty: return "ENOTTY";
    case error::txtbsy: return "ETXTBSY";
    case error::fbig: return "EFBIG";
    case error::nospc: return "ENOSPC";
    case error::spipe: return "ESPIPE";
    case error::rofs: return "EROFS";
    case error::mlink: return "EMLINK";
    case error::pipe: return "EPIPE";
    case error::range: return "ERANGE";
    case error::deadlk: return "EDEADLK";
    case error::nolck: return "ENOLCK";
    case error::nametoolong: return "ENAMETOOLONG";
    case error::nosys: return "ENOSYS";
    case error::notempty: return "ENOTEMPTY";
    case error::loop: return "ELOOP";
    case error::nodata: return "ENODATA";
    case error::overflow: return "EOVERFLOW";
    case error::notsock: return "ENOTSOCK";
    case error::destaddrreq: return "EDESTADDRREQ";
    case error::msgsize: return "EMSGSIZE";
    case error::prototype: return "EPROTOTYPE";
    case error::noprotoopt: return "ENOPROTOOPT";
    case error::protonosupport: return "EPROTONOSUPPORT";
    case error::socktnosupport: return "ESOCKTNOSUPPORT";
    case error::opnotsupp: return "EOPNOTSUPP";
    case error::afnosupport: return "EAFNOSUPPORT";
    case error::addrinuse: return "EADDRINUSE";
    case error::addrnotavail: return "EADDRNOTAVAIL";
    case error::connreset: return "ECONNRESET";
    case error::nobufs: return "ENOBUFS";
    case error::isconn: return "EISCONN";
    case error::notconn: return "ENOTCONN";
    case error::toomanyrefs: return "ETOOMANYREFS";
    case error::timedout: return "ETIMEDOUT";
    case error::connrefused: return "ECONNREFUSED";
    case error::already: return "EALREADY";
    case error::stale: return "ESTALE";
    case error::canceled: return "ECANCELED";
    case error::ownerdead: return "EOWNERDEAD";
    }
    return "E?";
}

} // namespace k
