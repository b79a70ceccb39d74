// Tables of the kernel's state, as texts: for the monitor's commands and for /proc.
#pragma once

#include "kernel/lib/format.h"
#include "kernel/lib/result.h"

namespace monitor {

// What each CPU has done; all threads; the ports that have names; who holds the memory; the copy ledger. Thread
// context. ENOMEM.
k::status put_cpus(k::text_sink& to) noexcept;
k::status put_threads(k::text_sink& to) noexcept;
k::status put_ports(k::text_sink& to) noexcept;
k::status put_pages(k::text_sink& to) noexcept;
k::status put_xio(k::text_sink& to) noexcept;

} // namespace monitor
