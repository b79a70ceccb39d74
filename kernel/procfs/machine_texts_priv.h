// The texts of the machine's files, by what they are about.
#pragma once

#include "kernel/procfs/node_priv.h"

namespace procfs {

// machine_state.cc: what it has and how busy it is.
k::status make_memory(const task&, k::text_sink& to);
k::status make_memory_events(const task&, k::text_sink& to);
k::status make_processors(const task&, k::text_sink& to);
k::status make_uptime(const task&, k::text_sink& to);
k::status make_load(const task&, k::text_sink& to);
k::status make_machine_stat(const task&, k::text_sink& to);

// machine_disks.cc: its block devices.
k::status make_partitions(const task&, k::text_sink& to);
k::status make_disk_statistics(const task&, k::text_sink& to);

} // namespace procfs
