// exec: another program in place of the one that runs.
#pragma once

#include "kernel/proc/argument_list.h"
#include "kernel/proc/process.h"

namespace proc {

// Where the texts of argv and envp come from.
class exec_texts {
  public:
    // Appends argv, without its first text if `skip_first`. / envp. EFAULT, E2BIG, ENOMEM.
    virtual k::status add_arguments(argument_list& to, bool skip_first) noexcept = 0;
    virtual k::status add_environment(argument_list& to) noexcept = 0;

  protected:
    ~exec_texts() = default;
};

// From arrays of pointers in the running thread's memory; a null array is an empty one.
class user_texts final : public exec_texts {
  public:
    user_texts(vm::space& space, xio::user_address arguments, xio::user_address environment) noexcept
        : space_(space), arguments_(arguments), environment_(environment) {}
    k::status add_arguments(argument_list& to, bool skip_first) noexcept override;
    k::status add_environment(argument_list& to) noexcept override;

  private:
    k::status add_all(argument_list& to, xio::user_address array, bool skip_first) noexcept;

    vm::space& space_;
    xio::user_address arguments_, environment_;
};

// What to run: the program at a path, as it is seen by somebody; or one that was found already, with the path that
// scripts' interpreters get.
struct exec_request {
    const vfs::view& v;
    std::string_view path;
    const vfs::found* file = nullptr;
};

// The running thread goes on in that program. All other threads of its process end first. The process goes on as it was
// after an error: the walk's, EACCES, ENOEXEC, E2BIG, ENOMEM, EFAULT, ...
k::status exec(thread& t, const exec_request& what, exec_texts& texts) noexcept;

} // namespace proc
