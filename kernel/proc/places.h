// Where a process is among the files: its root and its working directory, and the program that it runs. Objects that
// never change, which forks share; chdir() makes another.
#pragma once

#include "sys/vfs/walk.h"

namespace proc {

class places final : public k::counted<places> {
  public:
    static k::result<k::ref<places>> create(vfs::place root, vfs::place directory) noexcept; // ENOMEM
    void last_holder_left() noexcept;

    const vfs::place root, directory;

    places(vfs::place r, vfs::place d) noexcept : root(std::move(r)), directory(std::move(d)) {}
};

// Every process whose root or working directory is `before` has it at `after` from now on (pivot_root). ENOMEM: some
// have.
k::status move_places(const vfs::place& before, const vfs::place& after) noexcept;

// A program's file, which nobody can open for writing while it is held: by those who run it and by its mappings.
class held_program final : public k::counted<held_program>, public vfs::mapped {
  public:
    using opened_ref = vfs::file_system::opened_ref;
    static k::result<k::ref<held_program>> create(vfs::found file, opened_ref opened) noexcept; // ETXTBSY, ENOMEM
    void last_holder_left() noexcept;
    // It may be written to again: it is an interpreter, and is loaded. Before anybody else has it.
    void allow_writing() noexcept { (void)vfs::claim(std::move(running_)); }

    void keep() noexcept override { (void)k::ref<held_program>::to(*this).release(); }
    void let_go() noexcept override { (void)k::ref<held_program>(this); }
    const vfs::found& what() const noexcept override { return file; }

    const vfs::found file;

    held_program(vfs::found f, vfs::claim running, opened_ref opened) noexcept
        : file(std::move(f)), running_(std::move(running)), opened_(std::move(opened)) {}

  private:
    vfs::claim running_;
    const opened_ref opened_; // what its program keeps with it, if it is in one
};

} // namespace proc
