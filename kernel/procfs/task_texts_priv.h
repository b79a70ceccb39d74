// The texts of a process's files, by what they are about.
#pragma once

#include "kernel/procfs/node_priv.h"

namespace procfs {

// task_status.cc
k::status make_status(const task& of, k::text_sink& to);
k::status make_stat(const task& of, k::text_sink& to);
k::status make_statm(const task& of, k::text_sink& to);
// task_memory.cc
k::status make_maps(const task& of, k::text_sink& to);
k::status make_command_line(const task& of, k::text_sink& to);
k::status make_environment(const task& of, k::text_sink& to);
// task_settings.cc
k::status make_name(const task& of, k::text_sink& to);
k::status take_name(const task& of, std::string_view text);
k::status make_limits(const task& of, k::text_sink& to);
k::status make_oom_adjustment(const task& of, k::text_sink& to);
k::status take_oom_adjustment(const task& of, std::string_view text);
k::status make_wait(const task& of, k::text_sink& to);
k::status make_zero(const task& of, k::text_sink& to);
// mounts.cc
k::status make_mounts(const task& of, k::text_sink& to);
k::status make_mount_info(const task& of, k::text_sink& to);

// What ps shows of a task, gathered at one moment.
struct task_facts {
    char name[16] = {};
    char state = 'Z'; // as in stat
    int pid = 0, parent = 0, group = 0, session = 0, foreground = -1;
    k::u64 terminal = 0; // its device number; 0: none
    unsigned threads = 0;
    int exit_signal = 0;
    proc::usage used{}, dead_children{};
    vm::space_size size{};       // in pages; zeroes if it has no memory any more
    k::ref<proc::thread> thread; // any_thread()

    std::string_view name_text() const noexcept {
        const std::string_view all(name, sizeof(name));
        return all.substr(0, all.find('\0'));
    }
};
task_facts facts_of(const task& of) noexcept;

} // namespace procfs
