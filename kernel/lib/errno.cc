#include "kernel/lib/errno.h"

namespace k {

std::string_view name_of(error e) {
    switch (e) {
    case error::perm: return "EPERM";
    case error::noent: return "ENOENT";
    case error::intr: return "EINTR";
    case error::io: return "EIO";
    case error::nxio: return "ENXIO";
    case error::toobig: return "E2BIG";
    case error::badf: return "EBADF";
    case error::again: return "EAGAIN";
    case error::nomem: return "ENOMEM";
    case error::acces: return "EACCES";
    case error::fault: return "EFAULT";
    case error::busy: return "EBUSY";
    case error::exist: return "EEXIST";
    case error::nodev: return "ENODEV";
    case error::inval: return "EINVAL";
    case error::nospc: return "ENOSPC";
    case error::range: return "ERANGE";
    case error::nosys: return "ENOSYS";
    case error::overflow: return "EOVERFLOW";
    case error::opnotsupp: return "EOPNOTSUPP";
    case error::nobufs: return "ENOBUFS";
    case error::notconn: return "ENOTCONN";
    case error::timedout: return "ETIMEDOUT";
    case error::canceled: return "ECANCELED";
    }
    return "E?";
}

} // namespace k
