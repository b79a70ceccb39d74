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

class held_program final : public k::counted<held_program> {
  public:
    static k::result<k::ref<held_program>> create(vfs::found file) noexcept; // ENOMEM
    void last_holder_left() noexcept;

    const vfs::found file;

    explicit held_program(vfs::found f) noexcept : file(std::move(f)) {}
};

} // namespace proc
