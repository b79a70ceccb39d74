// The copy ledger: what CPUs copied and why, and what became of xio, since boot.
#include "sys/xio/ledger.h"

#include "kernel/lib/log.h"
#include "kernel/monitor/commands_priv.h"

namespace monitor {

bool show_xio(std::string_view) {
    const xio::ledger books = xio::read_ledger();
    k::log("{:<14} {:>20}\n", "copied", "bytes");
    for (unsigned r = 0; r < xio::reasons; r++)
        k::log("{:<14} {:>20}\n", xio::name_of(static_cast<xio::reason>(r)), books.copied[r]);
    k::log("{:<14} {:>20}\n", "in all", books.copied_bytes());
    k::log("{:<14} {:>20}\n", "happened", "count");
    for (unsigned h = 0; h < xio::happenings; h++)
        k::log("{:<14} {:>20}\n", xio::name_of(static_cast<xio::happening>(h)), books.count[h]);
    return true;
}

} // namespace monitor
