// procfs::task: whom a directory of procfs is of, a process or one of its threads; and who may look into it.
#pragma once

#include "kernel/mem/slab.h"
#include "kernel/proc/process.h"

namespace procfs {

struct task {
    k::ref<proc::process> process;
    k::ref<proc::thread> thread; // empty: the process as a whole
    int number = 0;              // its pid or tid
    int descriptor = -1;         // of a file in fdinfo/: which one that is about

    task share() const noexcept { return {process.share(), thread.share(), number, descriptor}; }
    explicit operator bool() const { return static_cast<bool>(process); }

    // Is it still there, if only as a zombie? Thread context.
    bool exists() const noexcept;
    // The thread, or of a process its main one or else any; empty: none is left.
    k::ref<proc::thread> any_thread() const noexcept;
    // May the running thread look into its memory and its files? It may if it is privileged or the same user and group
    // in every way. EACCES.
    k::status check_access() const noexcept;
};

// The process, or the thread's process, of this number. Empty: none.
task find_task(int number) noexcept;
// A thread of a process. Empty: none.
task find_thread_of(const task& of, int number) noexcept;

// Its descriptors. EACCES; ENOENT: it has left.
k::result<k::ref<files::fd_table>> table_of(const task& of) noexcept;

// Small numbers, each in or not.
class number_set {
  public:
    static constexpr k::u32 most = 65536;
    void add(k::u32 number) noexcept { words_[number / 64] |= k::u64{1} << (number % 64); }
    // The first one from `number` on; `most`: none.
    k::u32 next(k::u32 number) const noexcept;

  private:
    k::u64 words_[most / 64] = {};
};

void add_processes(number_set& to) noexcept;
void add_threads(const task& of, number_set& to) noexcept;

} // namespace procfs
