// The copy ledger: what CPUs copied and why, and what became of xio, since boot.
#include "sys/xio/ledger.h"

#include "kernel/monitor/state_tables.h"

namespace monitor {

k::status put_xio(k::text_sink& to) noexcept {
    const xio::ledger books = xio::read_ledger();
    k::format_to(to, "{:<14} {:>20}\n", "copied", "bytes");
    for (unsigned r = 0; r < xio::reasons; r++)
        k::format_to(to, "{:<14} {:>20}\n", xio::name_of(static_cast<xio::reason>(r)), books.copied[r]);
    k::format_to(to, "{:<14} {:>20}\n", "in all", books.copied_bytes());
    k::format_to(to, "{:<14} {:>20}\n", "happened", "count");
    for (unsigned h = 0; h < xio::happenings; h++)
        k::format_to(to, "{:<14} {:>20}\n", xio::name_of(static_cast<xio::happening>(h)), books.count[h]);
    return {};
}

} // namespace monitor
