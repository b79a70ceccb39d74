// Names of a file system in a program, which may change them by itself: what is known of one holds for some time, and
// then the program is asked again.
#pragma once

#include "sys/vfs/walk.h"

namespace vfs {

// What has a name in a directory whose names are held (names_hold), by asking the program; what was known of it, and is
// different now, goes, but for what something is mounted on or below. ENOENT; the program's errors; ENOMEM. Thread
// context, sleeps.
k::result<found> ask_program(mount& in, directory& at, const name_text& wanted) noexcept;

// A name is not believed any more: a file's is as if nobody had looked for it, unless another of that text has come; a
// directory is lost. The errors of lose_directory(). Thread context, sleeps.
k::status lose_name(directory& in, const name& which) noexcept;

// Are there names with nodes in a directory? ENOMEM. Thread context, sleeps.
k::result<bool> has_names(directory& in) noexcept;

// A directory is somewhere else by now, or nowhere, because its program says so: it is as if it had been removed, and
// so is all that is known below it. EBUSY, ENOMEM: some of that remains. Thread context, sleeps.
k::status lose_directory(directory& which) noexcept;

} // namespace vfs
